/* Functions nobody here calls, with what to use instead as the compiler's message. The build includes this file ahead of every source
 * below src/, so the headers that declare them come first. A call through a pointer escapes it; a review does not. */
#ifndef BM_BASE_BANNED_H
#define BM_BASE_BANNED_H

#include <alloca.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define BM_BANNED(name, instead) banned_##name##_use_##instead

/* no bound, or one that is easily given wrongly */
#undef strcpy
#define strcpy(...) BM_BANNED(strcpy, snprintf)
#undef strcat
#define strcat(...) BM_BANNED(strcat, snprintf)
#undef strncpy
#define strncpy(...) BM_BANNED(strncpy, snprintf)
#undef strncat
#define strncat(...) BM_BANNED(strncat, snprintf)
#undef stpcpy
#define stpcpy(...) BM_BANNED(stpcpy, snprintf)
#undef sprintf
#define sprintf(...) BM_BANNED(sprintf, snprintf)
#undef vsprintf
#define vsprintf(...) BM_BANNED(vsprintf, vsnprintf)
#undef gets
#define gets(...) BM_BANNED(gets, fgets)
#undef scanf
#define scanf(...) BM_BANNED(scanf, a_parser)
#undef sscanf
#define sscanf(...) BM_BANNED(sscanf, a_parser)
#undef fscanf
#define fscanf(...) BM_BANNED(fscanf, a_parser)

/* the stack has no answer when it is too much */
#undef alloca
#define alloca(...) BM_BANNED(alloca, a_buffer_with_a_limit)
#undef strdupa
#define strdupa(...) BM_BANNED(strdupa, strdup)
#undef strndupa
#define strndupa(...) BM_BANNED(strndupa, strndup)

/* hidden state shared by all callers */
#undef strtok
#define strtok(...) BM_BANNED(strtok, strtok_r)
#undef asctime
#define asctime(...) BM_BANNED(asctime, bm_time_text)
#undef ctime
#define ctime(...) BM_BANNED(ctime, bm_time_text)
#undef gmtime
#define gmtime(...) BM_BANNED(gmtime, gmtime_r)
#undef localtime
#define localtime(...) BM_BANNED(localtime, localtime_r)

/* failure looks like success */
#undef atoi
#define atoi(...) BM_BANNED(atoi, strtol)
#undef atol
#define atol(...) BM_BANNED(atol, strtol)
#undef atoll
#define atoll(...) BM_BANNED(atoll, strtoll)
#undef atof
#define atof(...) BM_BANNED(atof, strtod)

/* guessable */
#undef rand
#define rand(...) BM_BANNED(rand, RAND_bytes)
#undef random
#define random(...) BM_BANNED(random, RAND_bytes)
#undef mktemp
#define mktemp(...) BM_BANNED(mktemp, mkstemp)
#undef tmpnam
#define tmpnam(...) BM_BANNED(tmpnam, mkstemp)
#undef tempnam
#define tempnam(...) BM_BANNED(tempnam, mkstemp)

/* a shell reads the words again */
#undef system
#define system(...) BM_BANNED(system, posix_spawn)
#undef popen
#define popen(...) BM_BANNED(popen, posix_spawn)

#endif
