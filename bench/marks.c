/* marks.c - for bench.instructions: callgrind counts from the first mark on, and writes at each one what it counted since the last.
 *   build: gcc -O2 -shared -fPIC -o marks.so marks.c
 */
#include <valgrind/callgrind.h>
void begin(void){ CALLGRIND_START_INSTRUMENTATION; }
void mark(const char*name){ CALLGRIND_DUMP_STATS_AT(name); }
