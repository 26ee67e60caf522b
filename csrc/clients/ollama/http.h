/* As much of HTTP/1.1 as a server and its runner speak on the loopback: GET, and one answer a connection. */
#ifndef OLLAMA_HTTP_H
#define OLLAMA_HTTP_H

#include <stddef.h>
#include <stdint.h>

enum { HTTP_ANSWER_MAX = 1 << 20 };

struct http_answer {
    int status;
    char *body; /* terminated; the caller frees it */
    size_t size;
};

/* Keeps a port of 127.0.0.1 for one listener, as long as the socket that it answers is open; -1: there is none. */
int http_reserve_port(int *port);

/* 0, or -1: no connection, no complete answer, or `deadline` (CLOCK_MONOTONIC ns) has passed. */
int http_get(int port, const char *path, int64_t deadline, struct http_answer *answer);

/* The other side. listen: a socket or -1. serve: one request; `path` gets what was asked for; the caller then answers.
 */
int http_listen(int port);
int http_accept(int listener, char *path, size_t size);
void http_answer(int connection, int status, const char *type, const char *body);

#endif
