/* What cudaEGL.h needs of EGL. */
typedef void *EGLImageKHR;
typedef void *EGLStreamKHR;
typedef void *EGLSyncKHR;
typedef int EGLint;
typedef unsigned int EGLBoolean;
