/* A driver library for the probe, which looks for it in a process of its own: what it says comes from the environment. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
static int number(const char *name, int otherwise) { const char *v = getenv(name); return v ? atoi(v) : otherwise; }
int cuInit(unsigned flags) { if (number("FAKE_CUDA_CRASH", 0)) raise(SIGSEGV); return number("FAKE_CUDA_INIT", 0); }
int cuDriverGetVersion(int *v) { *v = 12060; return 0; }
int cuDeviceGetCount(int *n) { *n = number("FAKE_CUDA_COUNT", 1); return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Orin", size); return 0; }
int cuDeviceGetAttribute(int *v, int attribute, int device) {
    *v = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 18 ? 1 : -1;
    return 0;
}
int cuGetErrorName(int code, const char **text) { *text = code == 35 ? "CUDA_ERROR_INSUFFICIENT_DRIVER" : 0; return 0; }
