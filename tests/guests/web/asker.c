/* Sends requests for whoever calls it. */
#include "asking.h"

EXPORT("test:web/asking@0.1.0#ask")
text_t *exported_ask(uint8_t *authority, size_t authority_length, uint8_t *path, size_t length) {
    static text_t result;
    result = ask((text_t){authority, authority_length}, (text_t){path, length});
    memory_end();
    return &result;
}
