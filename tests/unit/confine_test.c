/* base/confine.h from the inside: a child locks itself in as a role and then tries something; what came of it is a row. */
#include "base/bytes.h"
#include "base/confine.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILLED (-1) /* by SIGSYS */
#define DENIED (-2) /* EPERM or EACCES */

static char data[] = "/tmp/bm-confine-XXXXXX"; /* what the keeper may write */
static char in_data[64], outside[64];
static int listener = -1; /* TCP, opened before */

static int outcome(long rc)
{
    return rc >= 0 ? 0 : errno;
}

/* --- acts: 0 or errno ------------------------------------------------------------------------------------------------------------ */
static int read_passwd(void)
{
    return outcome(open("/etc/passwd", O_RDONLY));
}
static int list_root(void)
{
    return outcome(open("/", O_RDONLY | O_DIRECTORY));
}
static int write_outside(void)
{
    return outcome(open(outside, O_WRONLY | O_CREAT, 0600));
}
static int read_data(void)
{
    return outcome(open(in_data, O_RDONLY));
}
static int write_data(void)
{
    return outcome(open(in_data, O_RDWR | O_CREAT, 0600));
}
static int climb_out(void)
{
    char path[96];

    snprintf(path, sizeof path, "%s/../../etc/passwd", data);
    return outcome(open(path, O_RDONLY));
}
static int rename_out(void)
{
    return outcome(rename(in_data, outside));
}
static int link_in(void)
{
    char path[96];

    snprintf(path, sizeof path, "%s/stolen", data);
    return outcome(link("/etc/passwd", path));
}
static int symlink_data(void)
{
    char path[96];

    snprintf(path, sizeof path, "%s/sym", data);
    return outcome(symlink("/etc/passwd", path));
}
static int read_environment(void)
{
    return outcome(open("/proc/1/environ", O_RDONLY));
}
static int own_memory(void)
{
    return outcome(open("/proc/self/mem", O_RDWR));
}
static int truncate_outside(void)
{
    return outcome(truncate(outside, 0));
}
static int remove_outside(void)
{
    return outcome(unlink(outside));
}
static int run_program(void)
{
    char *argv[] = { (char[]){ "/bin/true" }, NULL };

    return outcome(execv("/bin/true", argv));
}
static int run_at(void)
{
    return outcome(syscall(SYS_execveat, AT_FDCWD, "/bin/true", NULL, NULL, 0));
}
static int forks(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    return outcome(pid);
}
static int traces(void)
{
    return outcome(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL));
}
static int traced(void)
{
    return outcome(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}
static int reads_parent(void)
{
    return outcome(syscall(SYS_process_vm_readv, getppid(), NULL, 0UL, NULL, 0UL, 0UL));
}
static int kills_parent(void)
{
    return outcome(kill(getppid(), 0));
}
static int signals_parent(void)
{
    return outcome(syscall(SYS_tgkill, getppid(), getppid(), 0));
}
static int inet_socket(void)
{
    return outcome(socket(AF_INET, SOCK_STREAM, 0));
}
static int packet_socket(void)
{
    return outcome(socket(AF_PACKET, SOCK_RAW, 0));
}
static int unix_socket(void)
{
    return outcome(socket(AF_UNIX, SOCK_STREAM, 0));
}
static int connects(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(1) };

    return outcome(connect(listener, (struct sockaddr *)&to, sizeof to));
}
static int binds(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET };

    return outcome(bind(listener, (struct sockaddr *)&at, sizeof at));
}
static int listens(void)
{
    return outcome(listen(listener, 1));
}
static int code_pages(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0;
}
static int code_later(void)
{
    static uint8_t page[8192];
    void *p = page + (4096 - (uintptr_t)page % 4096);

    return outcome(mprotect(p, 4096, PROT_READ | PROT_EXEC));
}
static int mounts(void)
{
    return outcome(syscall(SYS_mount, "none", "/mnt", "tmpfs", 0UL, NULL));
}
static int new_namespace(void)
{
    return outcome(syscall(SYS_unshare, 0x10000000 /* CLONE_NEWUSER */));
}
static int changes_root(void)
{
    return outcome(chroot("/tmp"));
}
static int bpf(void)
{
    return outcome(syscall(SYS_bpf, 0, NULL, 0U));
}
static int io_uring(void)
{
    return outcome(syscall(SYS_io_uring_setup, 1U, NULL));
}
static int memory_file(void)
{
    return outcome(syscall(SYS_memfd_create, "x", 0U));
}
static int user_faults(void)
{
    return outcome(syscall(SYS_userfaultfd, 0));
}
static int key_ring(void)
{
    return outcome(syscall(SYS_keyctl, 0, 0, 0, 0, 0));
}
static int perf(void)
{
    return outcome(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0UL));
}
static int module(void)
{
    return outcome(syscall(SYS_finit_module, 0, "", 0));
}
static int becomes_root(void)
{
    return outcome(setuid(0));
}
static int makes_device(void)
{
    char path[96];

    snprintf(path, sizeof path, "%s/device", data);
    return outcome(mknod(path, S_IFCHR | 0600, 0));
}
static int dumpable(void)
{
    return outcome(syscall(SYS_prctl, 4 /* PR_SET_DUMPABLE */, 1, 0, 0, 0));
}
static int raises_limit(void)
{
    const struct rlimit l = { 100, 100 };

    return outcome(setrlimit(RLIMIT_NPROC, &l));
}
static int terminal_input(void)
{
    return outcome(syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x"));
}
static int allocates(void)
{
    void *p = malloc(8 << 20);

    free(p);
    return p == NULL ? ENOMEM : 0;
}
static int random_bytes(void)
{
    uint8_t b[8];

    return outcome(syscall(SYS_getrandom, b, sizeof b, 0U));
}

static const struct {
    const char *name;
    int (*act)(void);
    int worker, keeper, supervisor; /* what comes of it: KILLED, DENIED or 0 */
} rows[] = {
    { "read /etc/passwd", read_passwd, DENIED, DENIED, DENIED },
    { "list /", list_root, DENIED, DENIED, DENIED },
    { "make a file elsewhere", write_outside, DENIED, DENIED, DENIED },
    { "read a file of DATA", read_data, DENIED, 0, 0 },
    { "write a file of DATA", write_data, DENIED, 0, 0 },
    { "climb out of DATA", climb_out, DENIED, DENIED, DENIED },
    { "move a file out of DATA", rename_out, KILLED, DENIED, DENIED },
    { "link a file into DATA", link_in, KILLED, EXDEV, EXDEV },
    { "a symbolic link in DATA", symlink_data, KILLED, KILLED, KILLED },
    { "environment of another process", read_environment, DENIED, DENIED, DENIED },
    { "own memory as a file", own_memory, DENIED, DENIED, DENIED },
    { "truncate by name", truncate_outside, KILLED, KILLED, KILLED },
    { "remove a file elsewhere", remove_outside, KILLED, DENIED, DENIED },
    { "a device node", makes_device, KILLED, KILLED, KILLED },
    { "run a program", run_program, KILLED, KILLED, KILLED },
    { "run a program, another way", run_at, KILLED, KILLED, KILLED },
    { "fork", forks, KILLED, KILLED, 0 },
    { "trace the parent", traces, KILLED, KILLED, KILLED },
    { "be traced", traced, KILLED, KILLED, KILLED },
    { "read the parent's memory", reads_parent, KILLED, KILLED, KILLED },
    { "kill", kills_parent, KILLED, KILLED, 0 },
    { "tgkill another process", signals_parent, KILLED, KILLED, 0 },
    { "a TCP socket", inet_socket, KILLED, KILLED, 0 }, /* for a courier that it starts anew */
    { "a packet socket", packet_socket, KILLED, KILLED, KILLED },
    { "a local socket", unix_socket, KILLED, KILLED, 0 },
    { "connect", connects, KILLED, KILLED, ECONNREFUSED },
    { "bind", binds, KILLED, KILLED, KILLED },
    { "listen", listens, KILLED, KILLED, KILLED },
    { "pages of code", code_pages, KILLED, KILLED, KILLED },
    { "data becomes code", code_later, KILLED, KILLED, KILLED },
    { "mount", mounts, KILLED, KILLED, KILLED },
    { "a new namespace", new_namespace, KILLED, KILLED, KILLED },
    { "chroot", changes_root, KILLED, KILLED, KILLED },
    { "bpf", bpf, KILLED, KILLED, KILLED },
    { "io_uring", io_uring, KILLED, KILLED, KILLED },
    { "memfd", memory_file, KILLED, KILLED, KILLED },
    { "userfaultfd", user_faults, KILLED, KILLED, KILLED },
    { "kernel keys", key_ring, KILLED, KILLED, KILLED },
    { "perf", perf, KILLED, KILLED, KILLED },
    { "kernel module", module, KILLED, KILLED, KILLED },
    { "setuid", becomes_root, KILLED, KILLED, 0 },
    { "dumpable again", dumpable, DENIED, DENIED, 0 },
    { "raise a limit", raises_limit, DENIED, DENIED, 0 },
    { "push terminal input", terminal_input, DENIED, DENIED, DENIED },
    { "memory", allocates, 0, 0, 0 },
    { "random bytes", random_bytes, 0, 0, 0 },
};

static int try(int (*act)(void), enum bm_role role)
{
    const struct bm_confine_path paths[] = { { data, role != BM_ROLE_COURIER } };
    pid_t pid = fork();
    int how;

    assert_true(pid >= 0);
    if (pid == 0) {
        struct bm_error e;

        bm_harden();
        if (bm_confine(BM_CONFINE_REQUIRED, role, paths, role == BM_ROLE_WORKER ? 0 : 1, &e) != BM_OK)
            _exit(255);
        _exit(act());
    }
    assert_int_equal(waitpid(pid, &how, 0), pid);
    if (WIFSIGNALED(how))
        return WTERMSIG(how) == SIGSYS ? KILLED : 1000 + WTERMSIG(how);
    how = WEXITSTATUS(how);
    return how == EPERM || how == EACCES ? DENIED : how;
}

/* Its database is reached through sockets; all else is a keeper's. */
static int keeper_on_server(size_t i)
{
    if (rows[i].act == inet_socket || rows[i].act == unix_socket)
        return 0;
    return rows[i].act == connects ? ECONNREFUSED : rows[i].keeper; /* nobody listens there */
}

/* Nor may its module reach anything, but it may try. */
static int keeper_with_tokens(size_t i)
{
    return rows[i].act == inet_socket || rows[i].act == unix_socket || rows[i].act == packet_socket || rows[i].act == connects
               ? DENIED
               : rows[i].keeper;
}

/* It goes out, and reads what it was given at its start; all else is a worker's. */
static int courier(size_t i)
{
    static int (*const files[])(
        void) = { read_passwd, list_root, write_outside, write_data, climb_out, read_environment, own_memory };

    if (rows[i].act == inet_socket || rows[i].act == read_data)
        return 0;
    for (size_t n = 0; n < BM_COUNT(files); n++)
        if (rows[i].act == files[n])
            return DENIED;
    return rows[i].act == connects ? ECONNREFUSED : rows[i].worker;
}

static void each_role_and_act(void **state)
{
    size_t wrong = 0;

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        const int want[BM_ROLES] = {
            [BM_ROLE_WORKER] = rows[i].worker,         [BM_ROLE_KEEPER] = rows[i].keeper,
            [BM_ROLE_KEEPER_DB] = keeper_on_server(i), [BM_ROLE_KEEPER_TOKEN] = keeper_with_tokens(i),
            [BM_ROLE_SUPERVISOR] = rows[i].supervisor, [BM_ROLE_COURIER] = courier(i),
        };

        for (int role = 0; role < BM_ROLES; role++) {
            int got = try(rows[i].act, (enum bm_role)role);

            /* before root, some of what the supervisor may try fails of itself */
            if (got == want[role] || (geteuid() != 0 && want[role] == 0 && role == BM_ROLE_SUPERVISOR && got == DENIED))
                continue;
            print_error("%s, role %d: %d, wanted %d\n", rows[i].name, role, got, want[role]);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

/* The filters add up: a worker that is started anew is below the supervisor's. */
static void a_worker_below_a_supervisor(void **state)
{
    const struct bm_confine_path paths[] = { { data, true } };
    struct bm_error e;
    pid_t pid = fork();
    int how;

    (void)state;
    if (pid == 0) {
        if (bm_confine(BM_CONFINE_REQUIRED, BM_ROLE_SUPERVISOR, paths, 1, &e) != BM_OK)
            _exit(1);
        pid = fork();
        if (pid == 0) {
            bm_harden();
            bm_limit_worker();
            if (bm_confine(BM_CONFINE_REQUIRED, BM_ROLE_WORKER, NULL, 0, &e) != BM_OK)
                _exit(2);
            _exit(read_data() == 0 ? 3 : allocates() != 0 ? 4 : 0);
        }
        _exit(waitpid(pid, &how, 0) == pid && WIFEXITED(how) ? WEXITSTATUS(how) : 9);
    }
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), 0);
}

static void off_changes_nothing(void **state)
{
    struct bm_error e;

    (void)state;
    assert_int_equal(bm_confine(BM_CONFINE_OFF, BM_ROLE_WORKER, NULL, 0, &e), BM_OK);
    assert_int_equal(read_passwd(), 0);
}

static void words(void **state)
{
    static const struct {
        const char *word;
        bool good;
    } cases[] = { { "required", true }, { "auto", true },      { "off", true },  { "", false },
                  { "on", false },      { "Required", false }, { "off ", false } };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(cases); i++) {
        enum bm_confine_mode m;

        assert_int_equal(bm_confine_parse(cases[i].word, &m), cases[i].good);
        if (cases[i].good)
            assert_string_equal(bm_confine_word(m), cases[i].word);
    }
}

static void users(void **state)
{
    struct bm_user u;
    struct bm_error e = { 0 };

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(bm_user_find("no-such-user-here", NULL, &u, &e), BM_USAGE);
    assert_string_equal(bm_error_code(&e), "no-such-user");
    assert_int_equal(bm_user_find("", "/no/such/folder", &u, &e), BM_OK);
    assert_false(u.change);
    assert_int_equal(bm_user_find("", "/etc/passwd/folder", &u, &e), BM_IO);
    assert_int_equal(bm_user_find("", data, &u, &e), BM_OK);
    assert_false(u.change); /* it is root's */
    assert_int_equal(bm_user_find("", NULL, &u, &e), BM_OK);
    assert_true(u.change && u.uid != 0);
    if (fork() == 0) {
        int how = bm_user_become(&u, &e) == BM_OK && getuid() == u.uid && geteuid() == u.uid && getegid() == u.gid &&
                  setuid(0) != 0 && read_data() != 0;

        _exit(how ? 0 : 1);
    }
    int how;
    assert_true(wait(&how) > 0 && WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

/* A build with sanitizers says that it cannot, and with "required" does not start. */
static void sanitizers_are_refused(void **state)
{
    struct bm_error e = { 0 };

    (void)state;
    if (strcmp(bm_confine_default, "off") != 0)
        skip();
    assert_int_equal(bm_confine(BM_CONFINE_REQUIRED, BM_ROLE_WORKER, NULL, 0, &e), BM_IO);
    assert_string_equal(bm_error_code(&e), "confine-unavailable");
    assert_int_equal(bm_confine(BM_CONFINE_AUTO, BM_ROLE_WORKER, NULL, 0, &e), BM_OK);
}

static int make_files(void **state)
{
    int fd;

    (void)state;
    if (mkdtemp(data) == NULL)
        return 1;
    snprintf(in_data, sizeof in_data, "%s/file", data);
    snprintf(outside, sizeof outside, "%s-outside", data);
    fd = open(in_data, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || close(fd) != 0)
        return 1;
    fd = open(outside, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && close(fd) == 0 && listener >= 0 ? 0 : 1;
}

static int remove_files(void **state)
{
    (void)state;
    (void)unlink(in_data);
    (void)unlink(outside);
    close(listener);
    return rmdir(data);
}

int main(void)
{
    const struct CMUnitTest rest[] = { cmocka_unit_test(off_changes_nothing), cmocka_unit_test(words), cmocka_unit_test(users),
                                       cmocka_unit_test(sanitizers_are_refused) };
    const struct CMUnitTest confined[] = { cmocka_unit_test(each_role_and_act), cmocka_unit_test(a_worker_below_a_supervisor) };
    struct bm_error e;
    int failed = cmocka_run_group_tests(rest, make_files, remove_files);

    if (bm_confine_check(&e) != BM_OK) {
        print_message("not confined here: %s\n", e.what);
        return failed;
    }
    memcpy(strrchr(data, '-'), "-XXXXXX", 8);
    return failed + cmocka_run_group_tests(confined, make_files, remove_files);
}
