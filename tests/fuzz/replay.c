/* Feeds every file of the given folders to a fuzz target, each in an allocation of its exact size: the corpus as a plain test. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static int feed(const char *path, size_t n)
{
    FILE *f = fopen(path, "rb");
    uint8_t *p = malloc(n != 0 ? n : 1);
    int ok = f != NULL && p != NULL && fread(p, 1, n, f) == n;

    if (ok) {
        fprintf(stderr, "%s\n", path); /* the last line before a crash names the culprit */
        LLVMFuzzerTestOneInput(p, n);
    }
    if (f != NULL)
        fclose(f);
    free(p);
    return ok ? 1 : -1;
}

/* The number of files fed, or -1 when one could not be read. */
static int feed_folder(const char *folder)
{
    DIR *d = opendir(folder);
    struct dirent *entry;
    int fed = 0;

    while (d != NULL && fed >= 0 && (entry = readdir(d)) != NULL) {
        char path[4096];
        struct stat st;

        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] == '.' || stat(path, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        fed = feed(path, (size_t)st.st_size) < 0 ? -1 : fed + 1;
    }
    if (d != NULL)
        closedir(d);
    return fed;
}

int main(int argc, char **argv)
{
    int fed = 0;

    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++) {
        int n = feed_folder(argv[i]);

        if (n < 0) {
            fprintf(stderr, "%s: cannot be read\n", argv[i]);
            return 1;
        }
        fed += n;
    }
    printf("replayed %d files\n", fed);
    if (fed == 0)
        fprintf(stderr, "no corpus: put a few small real files into the folder named on the command line\n");
    return fed == 0;
}
