#include "cli/cli.h"

#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const char *no_color = getenv("NO_COLOR"); /* https://no-color.org: set and not empty */
    struct bm_cli c = { .out = stdout, .err = stderr, .terminal = isatty(STDOUT_FILENO) == 1 };
    int status;

    c.colour = c.terminal && (no_color == NULL || *no_color == '\0');
    status = bm_cli_main(&c, argc, argv);
    bm_cli_done(&c);
    return status;
}
