/* An executable that is not Python: the mean brightness of a chunk's frames.
 *
 *     cc -O2 -static -o brightness brightness.c
 *
 * docs/reference/programs.md says what a program is given. Descriptor 0: one JSON object with public facts. Descriptor 3:
 * the frames, to be mapped. Descriptor 1: where its rows go, one JSON object a line, `end` on the last one.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

int main(void)
{
    struct stat frames;
    if (fstat(3, &frames) != 0)
        return 1;
    double mean = 0;
    if (frames.st_size > 0) { /* a chunk can have no frames at all */
        const unsigned char *bytes = mmap(NULL, frames.st_size, PROT_READ, MAP_PRIVATE, 3, 0);
        if (bytes == MAP_FAILED)
            return 1;
        unsigned long long sum = 0;
        for (off_t i = 0; i < frames.st_size; i++)
            sum += bytes[i];
        mean = (double)sum / (double)frames.st_size;
    }
    printf("{\"brightness\":%.3f}\nend\n", mean);
    return 0;
}
