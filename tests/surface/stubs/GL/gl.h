/* What cudaGL.h needs of OpenGL: Khronos fixes these to 32 bits. */
typedef unsigned int GLenum;
typedef unsigned int GLuint;
