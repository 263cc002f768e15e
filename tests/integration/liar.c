/* SPDX-License-Identifier: MIT
 * liar.c — an agent that misbehaves, for a real guest: argv[1] says how.
 *
 * It dials the bridge as the agent does and then lies. Only inside a guest of ours: elsewhere it does
 * nothing, since nobody may dial the host's host.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/vm_sockets.h> /* wants sys/socket.h first */

#define BRIDGE_PORT 0x40000000u

static int in_a_guest(void) {
    struct stat first, init;
    return stat("/proc/1/exe", &first) == 0 && stat("/init", &init) == 0 &&
           first.st_dev == init.st_dev && first.st_ino == init.st_ino;
}

static int dial(void) {
    struct sockaddr_vm to = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = BRIDGE_PORT};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        return -1;
    }
    return fd;
}

static void put32(uint8_t *to, uint32_t n) {
    for (int i = 0; i < 4; i++) {
        to[i] = (uint8_t)(n >> (8 * i));
    }
}

/* Answers the negotiation, whose frame fits one read here, with a header of that size and a body. */
static void answer(int fd, uint32_t size, const char *body) {
    char request[4096];
    uint8_t header[16] = {0};
    (void)!read(fd, request, sizeof request);
    put32(header, 0x20100b01u);
    put32(header + 4, size);
    (void)!write(fd, header, sizeof header);
    (void)!write(fd, body, strlen(body));
}

static void wait_for_ever(void) {
    for (;;) {
        (void)pause();
    }
}

int main(int argc, char **argv) {
#define AGREED(version)                                                                            \
    "{\"Result\":0,\"ActivityId\":\"00000000-0000-0000-0000-000000000000\",\"Version\":" version   \
    ",\"Capabilities\":{\"RuntimeOsType\":\"Linux\",\"GuestDefinedCapabilities\":{}}}"
    static const char version[] = AGREED("5"), right[] = AGREED("4");
    const char *how = argc > 1 ? argv[1] : "";
    if (!in_a_guest()) {
        fprintf(stderr, "liar: not in a guest of ours\n");
        return 1;
    }
    fprintf(stderr, "liar: %s\n", how);
    if (strcmp(how, "mute") == 0) {
        wait_for_ever();
    }
    int fd = strcmp(how, "gone") == 0 ? -1 : dial();
    if (strcmp(how, "garbage") == 0) {
        char noise[256];
        memset(noise, 'x', sizeof noise);
        (void)!write(fd, noise, sizeof noise);
    } else if (strcmp(how, "version") == 0) {
        answer(fd, (uint32_t)(16 + strlen(version)), version);
    } else if (strcmp(how, "deaf") == 0) {
        answer(fd, (uint32_t)(16 + strlen(right)), right);
    } else if (strcmp(how, "huge") == 0) {
        answer(fd, UINT32_MAX, "{");
    } else if (strcmp(how, "hangup") == 0) {
        close(fd);
    } else if (strcmp(how, "gone") == 0) {
        return 3;
    }
    wait_for_ever();
}
