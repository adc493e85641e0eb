/* An ordinary program: it knows nothing of components. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int count, char **words) {
    const char *greeting = getenv("GREETING");
    if (count < 2) {
        fprintf(stderr, "usage: %s NAME... | --cat FILE\n", words[0]);
        return 2;
    }
    if (!strcmp(words[1], "--cat") && count > 2) {
        FILE *file = fopen(words[2], "r");
        if (file == NULL) {
            perror(words[2]);
            return 1;
        }
        for (int byte; (byte = getc(file)) != EOF;) {
            putchar(byte);
        }
        fclose(file);
        return 0;
    }
    for (int i = 1; i < count; i++) {
        printf("%s, %s!\n", greeting ? greeting : "Hello", words[i]);
    }
    return 0;
}
