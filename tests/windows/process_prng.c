/* Wine 8 has no bcryptprimitives.dll, which every program of Rust's asks for random bytes at its start.
   For the test prefix alone: it is neither shipped nor needed on Windows. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length); /* RtlGenRandom */

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length)
{
	return SystemFunction036(buffer, (ULONG)length);
}
