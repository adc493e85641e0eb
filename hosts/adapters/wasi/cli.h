/* wasi:cli: environment, arguments, exit, standard streams; there is never a terminal. */
#ifndef CLI_H
#define CLI_H

#include "output.h"

#define ENVIRONMENT "wasi:cli/environment@0.2.12"

/* option<string>, option<terminal-input>, option<terminal-output>: always none */
typedef struct {
    uint8_t is_some;
    text_t value;
} option_t;

static option_t *none(void) {
    static option_t result;
    return &result;
}

EXPORT(ENVIRONMENT "#get-environment") text_t *get_environment(void) {
    static text_t result;
    host_environment(&result);
    scratch_end();
    return &result;
}

EXPORT(ENVIRONMENT "#get-arguments") text_t *get_arguments(void) {
    static text_t result;
    host_arguments(&result);
    scratch_end();
    return &result;
}

EXPORT(ENVIRONMENT "#initial-cwd") option_t *initial_cwd(void) {
    return none();
}

EXPORT("wasi:cli/exit@0.2.12#exit") void cli_exit(uint32_t is_error) {
    host_exit(is_error);
    __builtin_trap(); /* the host does not come back */
}

EXPORT("wasi:cli/exit@0.2.12#exit-with-code") void cli_exit_with_code(uint32_t status) {
    host_exit(status);
    __builtin_trap();
}

EXPORT("wasi:cli/stdin@0.2.12#get-stdin") handle_t get_stdin(void) {
    return make_input(NULL, 0);
}

EXPORT("wasi:cli/stdout@0.2.12#get-stdout") handle_t get_stdout(void) {
    return make_output(TO_STDOUT, NULL, 0);
}

EXPORT("wasi:cli/stderr@0.2.12#get-stderr") handle_t get_stderr(void) {
    return make_output(TO_STDERR, NULL, 0);
}

EXPORT("wasi:cli/terminal-stdin@0.2.12#get-terminal-stdin") option_t *terminal_stdin(void) {
    return none();
}

EXPORT("wasi:cli/terminal-stdout@0.2.12#get-terminal-stdout") option_t *terminal_stdout(void) {
    return none();
}

EXPORT("wasi:cli/terminal-stderr@0.2.12#get-terminal-stderr") option_t *terminal_stderr(void) {
    return none();
}

/* Nobody can hold a terminal, so nobody can drop one. */
EXPORT("wasi:cli/terminal-input@0.2.12#[dtor]terminal-input") void terminal_input_drop(void *rep) {
    (void)rep;
}

EXPORT("wasi:cli/terminal-output@0.2.12#[dtor]terminal-output")
void terminal_output_drop(void *rep) {
    (void)rep;
}

#endif
