/* SPDX-License-Identifier: MIT
 *
 * DHCP (nic.h): busybox's udhcpc asks and renews; what it is told it hands to a script, which is this binary
 * under the name gcs-dhcp and writes it to the pipe that its starter reads. So a lease becomes addresses and
 * routes by the same code as those that the host says.
 *
 * The client goes on for as long as the adapter is configured, and keeps the lease alive; one that came to nothing
 * in time is killed.
 */
#include "cmd/gcs/nic.h"

#include "cmd/gcs/gcs.h"
#include "cmd/gcs/image_path.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LEASE_BYTES 4096u
#define RELEASE_MS 500
#define POLL_MS 10

/* ---- the script --------------------------------------------------------------------------- */

/* Only the first lease is read; a later one is the same, or the client has lost it. */
int uvm__dhcp_main(int argc, char **argv) {
    static const char *const keys[] = {"ip", "mask", "router", "dns", "domain", "search"};
    char text[LEASE_BYTES];
    size_t used = 0;

    if (argc != 2 || strcmp(argv[1], "bound") != 0) {
        return 0;
    }
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const char *value = getenv(keys[i]);
        int n = snprintf(text + used, sizeof text - used, "%s=%s\n", keys[i],
                         value == NULL ? "" : value);
        if (n < 0 || (size_t)n >= sizeof text - used) {
            return 1;
        }
        used += (size_t)n;
    }
    return write(STDOUT_FILENO, text, used) == (ssize_t)used ? 0 : 1;
}

/* ---- a lease ------------------------------------------------------------------------------ */

static const char *value(const char *lease, const char *key, char *ret, size_t bytes) {
    char line[32];
    (void)snprintf(line, sizeof line, "\n%s=", key);
    const char *at = strstr(lease, line);

    (void)snprintf(ret, bytes, "%.*s", at == NULL ? 0 : (int)strcspn(at + strlen(line), "\n"),
                   at == NULL ? "" : at + strlen(line));
    return ret;
}

/* Words of a list, with commas; what is no address or name is left out, since a server may say anything. */
static void put_list(const char *words, char ret[GCS_NIC_LIST_BYTES], bool addresses) {
    char copy[LEASE_BYTES], *save = NULL;
    size_t used = 0;

    (void)snprintf(copy, sizeof copy, "%s", words);
    for (char *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        struct uvm__rtnl_address a;
        bool good = addresses ? uvm__rtnl_read(w, &a) && strchr(w, '/') == NULL
                              : strspn(w, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                          "0123456789-_.") == strlen(w);
        if (good && used + strlen(w) + 2 < GCS_NIC_LIST_BYTES) {
            used += (size_t)snprintf(ret + used, GCS_NIC_LIST_BYTES - used, "%s%s",
                                     used > 0 ? "," : "", w);
        }
    }
}

static int take_lease(struct gcs_nic *n, const char *lease, struct gcs_words *w) {
    char text[LEASE_BYTES], prefix[16];
    struct uvm__rtnl_address *a = &n->addresses[0];
    struct uvm__rtnl_route *r = &n->routes[n->routes_count];

    (void)value(lease, "mask", prefix, sizeof prefix);
    if (!uvm__rtnl_read(value(lease, "ip", text, sizeof text), a) || a->family != AF_INET) {
        return gcs_fail(w, "%s: DHCP: a lease without an address", n->interface);
    }
    long bits = strtol(prefix, NULL, 10);
    a->prefix = bits >= 1 && bits <= 32 ? (uint8_t)bits : 24;
    n->addresses_count = 1;
    (void)value(lease, "router", text, sizeof text);
    text[strcspn(text, " ")] = '\0';
    memset(r, 0, sizeof *r);
    if (n->routes_count < GCS_NIC_ROUTES_MAX && uvm__rtnl_read(text, &r->gateway) &&
        r->gateway.family == AF_INET) {
        r->destination.family = AF_INET;
        n->routes_count++;
    }
    if (n->servers[0] == '\0') {
        put_list(value(lease, "dns", text, sizeof text), n->servers, true);
    }
    if (n->search[0] == '\0') {
        (void)value(lease, "search", text, sizeof text);
        put_list(text[0] != '\0' ? text : value(lease, "domain", text, sizeof text), n->search,
                 false);
    }
    return 0;
}

/* ---- the client --------------------------------------------------------------------------- */

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

_Noreturn static void become_client(const struct gcs_nic *n, int out) {
    char busybox[PATH_MAX], script[PATH_MAX];
    int null = open("/dev/null", O_RDWR);
    char *const argv[] = {"udhcpc", "-f",
                          "-R",     "-n",
                          "-t",     "5",
                          "-T",     "2",
                          "-i",     (char *)(uintptr_t)n->interface,
                          "-s",     (char *)(uintptr_t)uvm__image_path("/bin/gcs-dhcp", script),
                          NULL};

    (void)setsid();
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(out, STDOUT_FILENO);
    (void)dup2(null, STDERR_FILENO);
    (void)close_range(3, ~0U, 0);
    (void)execv(uvm__image_path("/bin/busybox", busybox), argv);
    _exit(127);
}

/* The script's text; false: the client ended, or it is over. */
static bool read_lease(int fd, char *buf, size_t bytes) {
    int64_t end = now_ms() + GCS_DHCP_MS;
    size_t used = 1;

    buf[0] = '\n'; /* every key has one before it */
    buf[1] = '\0';
    while (strstr(buf, "\nsearch=") == NULL || buf[used - 1] != '\n') {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = end - now_ms();
        ssize_t got;

        if (left <= 0 || poll(&p, 1, (int)left) <= 0 || used + 1 >= bytes) {
            return false;
        }
        got = read(fd, buf + used, bytes - 1 - used);
        if (got <= 0) {
            return false;
        }
        used += (size_t)got;
        buf[used] = '\0';
    }
    return true;
}

int gcs_dhcp(struct gcs_nic *n, struct gcs_words *w) {
    char lease[LEASE_BYTES + 2];
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0) {
        return gcs_fail(w, "%s: DHCP: %s", n->interface, strerror(errno));
    }
    pid_t pid = fork();
    if (pid == 0) {
        become_client(n, ends[1]);
    }
    close(ends[1]);
    bool got = pid > 0 && read_lease(ends[0], lease, sizeof lease);
    close(ends[0]);
    if (got && take_lease(n, lease, w) == 0) {
        n->dhcp_pid = pid;
        return 0;
    }
    if (pid > 0) {
        int status = 0;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
            return gcs_fail(w, "%s: DHCP: the image has no client (busybox udhcpc)", n->interface);
        }
    }
    return got ? -1
               : gcs_fail(w, "%s: DHCP: no server gave it an address in %u ms", n->interface,
                          GCS_DHCP_MS);
}

static bool is_client(long pid) {
    char path[64], name[16] = "";
    (void)snprintf(path, sizeof path, "/proc/%ld/comm", pid);
    int fd = pid <= 1 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    bool is = fd >= 0 && read(fd, name, 6) == 6 &&
              (strncmp(name, "udhcpc", 6) == 0 || strncmp(name, "busybo", 6) == 0);

    if (fd >= 0) {
        close(fd);
    }
    return is;
}

void gcs_dhcp_end(const struct gcs_nic *n) {
    if (!is_client(n->dhcp_pid)) {
        return;
    }
    (void)kill((pid_t)n->dhcp_pid, SIGTERM);
    for (int waited = 0; waited < RELEASE_MS && is_client(n->dhcp_pid); waited += POLL_MS) {
        (void)waitpid((pid_t)n->dhcp_pid, NULL, WNOHANG); /* where it is our own */
        (void)poll(NULL, 0, POLL_MS);
    }
    if (is_client(n->dhcp_pid)) {
        (void)kill((pid_t)n->dhcp_pid, SIGKILL);
    }
}
