/* Faults of C code in a Go program. */
#ifndef OLLAMA_FAULT_H
#define OLLAMA_FAULT_H

/* From now on abort() and memory faults end as Go ends them: a word on stderr, exit status 2, no signal. */
void fault_catch(void);

#endif
