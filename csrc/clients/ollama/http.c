/* HTTP on the loopback, for GET /info. Answers are read to the end of the connection and are bounded. */
#include "ollama/http.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ollama/text.h"

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int bound(int port) {
    struct sockaddr_in address = loopback(port);
    int yes = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int http_listen(int port) {
    int fd = bound(port);
    if (fd >= 0 && listen(fd, 16) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Ollama closes its socket and hopes that the port stays free. With many runners side by side it does not: the kernel
 * gives it to another's reservation, or to a client's end of a connection. A socket that stays bound and does not
 * listen keeps both off, and lets a listener with SO_REUSEADDR in. */
int http_reserve_port(int *port) {
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    int fd = bound(0);
    if (fd >= 0 && getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        close(fd);
        return -1;
    }
    *port = fd >= 0 ? ntohs(address.sin_port) : -1;
    return fd;
}

/* 1: `fd` is ready for `events`; 0: the deadline came first. */
static int wait_until(int fd, short events, int64_t deadline) {
    for (;;) {
        int64_t left = deadline - clock_now();
        if (left <= 0) {
            return 0;
        }
        struct pollfd wanted = {fd, events, 0};
        struct timespec pause = {left / 1000000000, left % 1000000000};
        int ready = ppoll(&wanted, 1, &pause, NULL);
        if (ready > 0) {
            return 1;
        }
        if (ready < 0 && errno != EINTR) {
            return 0;
        }
    }
}

static int connect_until(int port, int64_t deadline) {
    struct sockaddr_in address = loopback(port);
    int error = 0;
    socklen_t size = sizeof error;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0 &&
        (errno != EINPROGRESS || !wait_until(fd, POLLOUT, deadline) ||
         getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* The whole answer, terminated, in `*text`. */
static int read_answer(int fd, int64_t deadline, char **text, size_t *used) {
    size_t room = 4096;
    *used = 0;
    *text = malloc(room);
    while (*text != NULL && wait_until(fd, POLLIN, deadline)) {
        ssize_t got = recv(fd, *text + *used, room - *used - 1, 0);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
            continue;
        }
        if (got < 0) {
            break;
        }
        if (got == 0) {
            (*text)[*used] = '\0';
            return 0;
        }
        *used += (size_t)got;
        if (room - *used < 2) {
            room *= 2;
            char *grown = room <= HTTP_ANSWER_MAX ? realloc(*text, room) : NULL;
            if (grown == NULL) {
                break;
            }
            *text = grown;
        }
    }
    free(*text);
    *text = NULL;
    return -1;
}

static int take_apart(const char *text, size_t size, struct http_answer *answer) {
    const char *end = text + size;
    const char *body = strstr(text, "\r\n\r\n");
    const char *length = strstr(text, "Content-Length: ");
    if (strncmp(text, "HTTP/1.", 7) != 0 || size < 12 || body == NULL || length == NULL || length > body) {
        return -1;
    }
    body += 4;
    answer->status = atoi(text + 9);
    answer->size = strtoul(length + strlen("Content-Length: "), NULL, 10);
    if (answer->size != (size_t)(end - body)) {
        return -1;
    }
    answer->body = malloc(answer->size + 1);
    if (answer->body == NULL) {
        return -1;
    }
    memcpy(answer->body, body, answer->size + 1);
    return 0;
}

int http_get(int port, const char *path, int64_t deadline, struct http_answer *answer) {
    char request[256];
    char *text = NULL;
    size_t used = 0;
    int result = -1;
    int fd = connect_until(port, deadline);
    if (fd < 0) {
        return -1;
    }
    int length = snprintf(request, sizeof request,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                          "Connection: close\r\n\r\n",
                          path, port);
    if (send(fd, request, (size_t)length, MSG_NOSIGNAL) == length && read_answer(fd, deadline, &text, &used) == 0) {
        result = take_apart(text, used, answer);
    }
    free(text);
    close(fd);
    return result;
}

int http_accept(int listener, char *path, size_t size) {
    char request[4096];
    size_t used = 0;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    request[0] = '\0';
    while (strstr(request, "\r\n\r\n") == NULL && used < sizeof request - 1) {
        ssize_t got = recv(fd, request + used, sizeof request - 1 - used, 0);
        if (got <= 0) {
            break;
        }
        used += (size_t)got;
        request[used] = '\0';
    }
    const char *start = strncmp(request, "GET ", 4) == 0 ? request + 4 : "";
    snprintf(path, size, "%.*s", (int)strcspn(start, " \r\n"), start);
    return fd;
}

void http_answer(int connection, int status, const char *type, const char *body) {
    size_t size = strlen(body);
    const char *word = status == 200 ? "OK" : status == 404 ? "Not Found" : "Internal Server Error";
    char *text = text_format("HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                             status, word, type, size, body);
    size_t left = strlen(text);
    for (const char *at = text; left > 0;) {
        ssize_t sent = send(connection, at, left, MSG_NOSIGNAL);
        if (sent <= 0) {
            break;
        }
        at += sent;
        left -= (size_t)sent;
    }
    free(text);
    close(connection);
}
