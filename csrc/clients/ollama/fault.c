#include "ollama/fault.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "ollama/raw.h"

/* C's abort() or a fault in a backend ends as a Go traceback and exit status 2, not as a
 * signal. */
static void die_as_go(int number) {
    static const char abort_text[] = "SIGABRT: abort\n";
    static const char fault_text[] = "SIGSEGV: segmentation violation\n";
    if (number == SIGABRT) {
        raw_write(STDERR_FILENO, abort_text, sizeof abort_text - 1);
    } else {
        raw_write(STDERR_FILENO, fault_text, sizeof fault_text - 1);
    }
    _exit(2);
}

void fault_catch(void) {
    static const int numbers[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction action = {.sa_handler = die_as_go};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        sigaction(numbers[i], &action, NULL);
    }
}
