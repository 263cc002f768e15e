/* SPDX-License-Identifier: MIT
 * terminal.c — one terminal, standard input's, made raw and given back.
 *
 * The settings are a property of the terminal, not of the process: whoever leaves without giving them
 * back leaves a shell that does not echo. So they are restored at exit, and by a handler when the program
 * crashes (tcsetattr may be called there). TCSADRAIN: what was typed ahead stays.
 */
#include "cmd/uvmctl/terminal.h"
#include "cmd/uvmctl/out.h"
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static const int crashes[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
#define CRASHES (sizeof crashes / sizeof crashes[0])

static struct termios before;
static struct sigaction actions[CRASHES]; /* as they were */
static volatile sig_atomic_t is_raw;

void terminal_restore(void) {
    if (is_raw) {
        is_raw = 0;
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
        out_set_raw(false);
    }
}

static void on_crash(int signo) {
    if (is_raw) {
        is_raw = 0;
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &before);
    }
    for (size_t i = 0; i < CRASHES; i++) {
        if (crashes[i] == signo) {
            (void)sigaction(signo, &actions[i], NULL);
        }
    }
    (void)raise(signo); /* it comes when this handler returns */
}

bool terminal_make_raw(void) {
    static bool prepared;
    if (is_raw) {
        return true;
    }
    if (tcgetattr(STDIN_FILENO, &before) != 0) {
        return false;
    }
    if (!prepared) {
        prepared = true;
        (void)atexit(terminal_restore);
        for (size_t i = 0; i < CRASHES; i++) {
            struct sigaction action = {.sa_handler = on_crash};
            (void)sigaction(crashes[i], &action, &actions[i]);
        }
    }
    struct termios raw = before;
    cfmakeraw(&raw);
    is_raw = 1;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) != 0) {
        is_raw = 0;
        return false;
    }
    out_set_raw(true);
    return true;
}

void terminal_size(uint16_t *ret_rows, uint16_t *ret_cols) {
    struct winsize size = {0};
    (void)ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
    *ret_rows = size.ws_row;
    *ret_cols = size.ws_col;
}
