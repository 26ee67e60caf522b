/* Log lines in the form of Go's slog.TextHandler, on stderr, one write a line. */
#ifndef OLLAMA_LOG_H
#define OLLAMA_LOG_H

/* The numbers are slog's; Ollama's OLLAMA_DEBUG=n means -4*n. */
enum log_level { LOG_TRACE = -8, LOG_DEBUG = -4, LOG_INFO = 0, LOG_WARN = 4, LOG_ERROR = 8 };

/* Reads OLLAMA_DEBUG as envconfig.LogLevel does. */
void log_start(void);
int log_threshold(void);

/* log_line(LOG_INFO, "gpu.go:217", "message", "key", "value", ..., NULL). Values are quoted as slog quotes them. */
__attribute__((sentinel)) void log_line(enum log_level level, const char *source, const char *message, ...);

/* The same with "key=value" items, as for an environment. */
struct strings;
void log_items(enum log_level level, const char *source, const char *message, const struct strings *items);

/* Ollama's C code: bare lines, shown when `verbose`. */
__attribute__((format(printf, 2, 3))) void log_bare(int verbose, const char *format, ...);

#endif
