/* load: a load generator for greylisting servers.  One file, one thread, epoll, no dependencies.
 *
 *   cc -O2 -o load load.c
 *   load --socket unix:/run/policy.sock --protocol postfix --workload new --connections 50 --requests 20000
 *
 * It keeps CONNECTIONS conversations going; each sends its next request when the last one is answered.
 *
 *   postfix    Postfix policy delegation as Postfix 3.8 asks at RCPT (31 attributes, some 750 bytes) over
 *              persistent connections
 *   exim       `multigrey/1` and name=value lines, as Exim's ${readsocket} sends them: one connection per
 *              request, half-closed after it, answered when the server closes
 *   greylistd  `--grey ADDRESS SENDER RECIPIENT` in the same one-shot way
 *
 * Every attempt is made from a number and the seed, so that two runs with the same options ask the same.
 * `new` counts up from --first; `known` goes round in a set of --known attempts that belongs to the seed;
 * `mix` is --new-share percent new and the rest known.  --acknowledged writes the number of every
 * attempt that got an answer (32 bits each, this machine's byte order); --replay asks for these numbers
 * again, to see what a server has lost.
 *
 * Prints one line of JSON: requests per second, percentiles of the time to the answer in microseconds,
 * processor time of the processes named by --pids per answered request, and the answers by kind.
 * SIGTERM and SIGINT end a run early; what was measured so far is printed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 2048, KINDS = 32, KIND_LENGTH = 40, PIDS = 16, EVENTS = 512, MOST_ERRORS = 1000 };

enum protocol { POSTFIX, EXIM, GREYLISTD };
enum workload { NEW, KNOWN, MIX };

/* What the command line asked for. */
static struct options {
    enum protocol protocol;
    enum workload workload;
    struct sockaddr_storage address;
    socklen_t address_length;
    int connections;
    uint32_t requests;
    uint64_t seed;
    uint32_t first;      /* number of the first new attempt */
    uint32_t known;      /* size of the set of known attempts */
    unsigned new_share;  /* percent of a mix */
    double seconds;      /* give up after this long */
    double interval;     /* microseconds between the requests of one connection; 0: as fast as it goes */
    bool stop_at_error;
    const char *acknowledged_file;
    const char *replay_file;
    pid_t pids[PIDS];
    int pid_count;
} options = {
    .connections = 1, .requests = 10000, .seed = 1, .known = 1000, .new_share = 70, .seconds = 120,
};

/* What a conversation is waiting for. */
enum state { IDLE, BACKLOG_FULL, CONNECTING, SENDING, READING };

struct conversation {
    int fd;  /* -1: no connection */
    enum state state;
    uint32_t number;  /* which attempt was asked last */
    double asked_at;
    double due_at;  /* with --interval: when to ask next */
    size_t out_length, out_sent, in_length;
    char out[BUFFER], in[BUFFER];
};

/* What was measured. */
static struct results {
    uint32_t asked, finished, answered, errors;
    uint64_t backlog_full;
    float *latencies;        /* microseconds, one per answer */
    uint32_t *acknowledged;  /* numbers, one per answer; NULL when nobody wants them */
    double longest;          /* the slowest answer, microseconds */
    double longest_at;       /* when it came, seconds after the start */
    struct { char word[KIND_LENGTH]; uint32_t count; } kinds[KINDS];
    int kind_count;
} results;

static uint32_t *replay;  /* numbers to ask again, NULL without --replay */
static int epoll_fd;
static double started_at;
static volatile sig_atomic_t stop;

/* ---- small things ---- */

static void fail(const char *what)
{
    fprintf(stderr, "load: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(2);
}

static double microseconds(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) != 0)
        return 0;
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static double now(void) { return microseconds(CLOCK_MONOTONIC); }

/* Processor time of all watched processes, threads that ended included. */
static double processor_time(void)
{
    double sum = 0;
    for (int i = 0; i < options.pid_count; i++) {
        clockid_t clock;
        if (clock_getcpuclockid(options.pids[i], &clock) == 0)
            sum += microseconds(clock);
    }
    return sum;
}

/* A number that looks random and depends on nothing but its argument (Weyl step, then two mixing rounds). */
static uint64_t scramble(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* ---- attempts ---- */

struct attempt {
    char client[16], name[48], sender[64], recipient[48];
    uint32_t serial;  /* differs for every request, so that no two share a message */
};

static void letters(char *out, uint64_t value, int count)
{
    for (int i = 0; i < count; i++, value /= 26)
        out[i] = (char)('a' + value % 26);
    out[count] = 0;
}

/* Clients in 10/8 and names under .example belong to nobody; each attempt has its own sending domain. */
static void make_attempt(struct attempt *attempt, bool known, uint32_t number)
{
    uint64_t one = scramble((options.seed << 34) ^ ((uint64_t)known << 33) ^ number);
    uint64_t two = scramble(one);
    char user[12], word[12], domain[32];
    letters(user, two, 7);
    letters(word, two >> 34, 6);
    snprintf(domain, sizeof domain, "%s%u.example", word, number % 10000u);
    snprintf(attempt->client, sizeof attempt->client, "10.%u.%u.%u", (unsigned)(one & 255),
             (unsigned)(one >> 8 & 255), (unsigned)(1 + (one >> 16 & 255) % 254));
    snprintf(attempt->name, sizeof attempt->name, "mail.%s", domain);
    snprintf(attempt->sender, sizeof attempt->sender, "%s@%s", user, domain);
    snprintf(attempt->recipient, sizeof attempt->recipient, "user%u@example.org",
             (unsigned)((one >> 32) % 5000));
    attempt->serial = results.asked;
}

/* Which attempt comes next: its number, and whether it is from the known set. */
static bool pick(uint32_t *number)
{
    uint32_t turn = results.asked;
    bool known = options.workload == KNOWN;
    if (replay) {
        *number = replay[turn];
        return options.workload == KNOWN;
    }
    if (options.workload == MIX)
        known = scramble(options.seed + turn) % 100 >= options.new_share;
    if (!known)
        *number = options.first + turn;
    else if (options.workload == KNOWN)
        *number = (options.first + turn) % options.known;
    else
        *number = (uint32_t)(scramble(turn) % options.known);
    return known;
}

static size_t write_request(char *out, const struct attempt *attempt)
{
    int length = 0;
    switch (options.protocol) {
    case POSTFIX:
        length = snprintf(out, BUFFER,
            "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n"
            "client_address=%s\nclient_name=%s\nclient_port=40221\nreverse_client_name=%s\n"
            "server_address=192.0.2.25\nserver_port=25\nhelo_name=%s\nsender=%s\nrecipient=%s\n"
            "recipient_count=0\nqueue_id=\ninstance=4e1f.%08x.5a0.0\nsize=18342\netrn_domain=\nstress=\n"
            "sasl_method=\nsasl_username=\nsasl_sender=\nccert_subject=\nccert_issuer=\n"
            "ccert_fingerprint=\nccert_pubkey_fingerprint=\nencryption_protocol=TLSv1.3\n"
            "encryption_cipher=TLS_AES_256_GCM_SHA384\nencryption_keysize=256\npolicy_context=\n"
            "compatibility_level=3.6\nmail_version=3.8.6\n\n",
            attempt->client, attempt->name, attempt->name, attempt->name, attempt->sender,
            attempt->recipient, attempt->serial);
        break;
    case EXIM:
        length = snprintf(out, BUFFER,
            "multigrey/1\nclient_address=%s\nclient_name=%s\nhelo=%s\nsender=%s\nrecipient=%s\n"
            "message=1tEs%08x-0000\nauthenticated=\n\n",
            attempt->client, attempt->name, attempt->name, attempt->sender, attempt->recipient,
            attempt->serial);
        break;
    case GREYLISTD:
        length = snprintf(out, BUFFER, "--grey %s %s %s", attempt->client, attempt->sender,
                          attempt->recipient);
        break;
    }
    return (size_t)length;
}

/* ---- answers ---- */

static void count_kind(const char *word)
{
    int i = 0;
    while (i < results.kind_count && strcmp(results.kinds[i].word, word) != 0)
        i++;
    if (i == KINDS)
        return;
    if (i == results.kind_count) {
        snprintf(results.kinds[i].word, KIND_LENGTH, "%s", word);
        results.kind_count++;
    }
    results.kinds[i].count++;
}

/* The value that follows `name` in an answer, up to a blank or line end. */
static void copy_value(char *out, size_t size, const char *text, const char *name)
{
    const char *start = strstr(text, name);
    start = start ? start + strlen(name) : "";
    size_t length = strcspn(start, " \r\n\"\\");
    snprintf(out, size, "%.*s", (int)(length < size ? length : size - 1), start);
}

static void note_answer(struct conversation *it)
{
    char word[KIND_LENGTH], reason[16];
    it->in[it->in_length] = 0;
    copy_value(word, 16, it->in, options.protocol == GREYLISTD ? "" : "action=");
    if (options.protocol == EXIM) {
        copy_value(reason, sizeof reason, it->in, "reason=");
        strcat(strcat(word, "/"), reason);
    }
    count_kind(*word ? word : "(nothing)");
    double time = now(), latency = time - it->asked_at;
    if (latency > results.longest) {
        results.longest = latency;
        results.longest_at = (time - started_at) / 1e6;
    }
    if (results.acknowledged)
        results.acknowledged[results.answered] = it->number;
    results.latencies[results.answered++] = (float)latency;
}

/* ---- conversations ---- */

static void ask_next(struct conversation *it);
static void open_connection(struct conversation *it);

static void watch(struct conversation *it, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = it};
    if (epoll_ctl(epoll_fd, operation, it->fd, &event) != 0)
        fail("epoll_ctl");
}

static void close_connection(struct conversation *it)
{
    if (it->fd >= 0)
        close(it->fd);
    it->fd = -1;
    it->state = IDLE;
}

/* The request is over: count it, and ask the next one unless that waits for its time. */
static void finish(struct conversation *it, bool answered)
{
    results.finished++;
    if (answered)
        note_answer(it);
    else
        results.errors++;
    if (!answered || options.protocol != POSTFIX)
        close_connection(it);
    else
        it->state = IDLE;
    if (!answered && options.stop_at_error)
        stop = true;
    if (results.errors > MOST_ERRORS)
        fail("too many errors");
    if (answered && options.interval == 0)
        ask_next(it);
    /* else: `wake_waiting` goes on with it, so that a refused connection neither recurses nor spins */
}

static void send_request(struct conversation *it)
{
    while (it->out_sent < it->out_length) {
        ssize_t sent = send(it->fd, it->out + it->out_sent, it->out_length - it->out_sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            watch(it, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            it->state = SENDING;
            return;
        }
        if (sent < 0) {
            finish(it, false);
            return;
        }
        it->out_sent += (size_t)sent;
    }
    if (options.protocol != POSTFIX)
        shutdown(it->fd, SHUT_WR);
    if (it->state == SENDING || it->state == CONNECTING)
        watch(it, EPOLL_CTL_MOD, EPOLLIN);
    it->state = READING;
}

static void ask_next(struct conversation *it)
{
    struct attempt attempt;
    if (stop || results.asked >= options.requests) {
        close_connection(it);
        return;
    }
    bool known = pick(&it->number);
    make_attempt(&attempt, known, it->number);
    it->out_length = write_request(it->out, &attempt);
    it->out_sent = it->in_length = 0;
    results.asked++;
    it->asked_at = now();
    it->due_at += options.interval;
    if (it->fd < 0)
        open_connection(it);
    else
        send_request(it);
}

static void open_connection(struct conversation *it)
{
    int family = options.address.ss_family, one = 1;
    if (it->fd < 0) {
        it->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (it->fd < 0)
            fail("socket");
        if (family == AF_INET)
            setsockopt(it->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    if (connect(it->fd, (struct sockaddr *)&options.address, options.address_length) == 0) {
        watch(it, EPOLL_CTL_ADD, EPOLLIN);
        it->state = READING;
        send_request(it);
    } else if (errno == EINPROGRESS) {
        watch(it, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
        it->state = CONNECTING;
    } else if (errno == EAGAIN) {
        /* A unix socket whose backlog is full: a blocking client would wait, so we try again. */
        it->state = BACKLOG_FULL;
        results.backlog_full++;
    } else {
        finish(it, false);
    }
}

static void receive_answer(struct conversation *it)
{
    ssize_t got = recv(it->fd, it->in + it->in_length, BUFFER - 1 - it->in_length, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) { /* the end: of the answer, or of our hopes for one */
        finish(it, got == 0 && options.protocol != POSTFIX && it->in_length > 0);
        return;
    }
    it->in_length += (size_t)got;
    if (it->in_length == BUFFER - 1)
        finish(it, false);
    else if (options.protocol == POSTFIX && it->in_length >= 2 &&
             memcmp(it->in + it->in_length - 2, "\n\n", 2) == 0)
        finish(it, true);
}

static void handle_event(struct conversation *it, uint32_t events)
{
    if (it->fd < 0 || it->state == BACKLOG_FULL)
        return;
    if (it->state == IDLE) { /* the server ended a connection between two requests */
        close_connection(it);
        return;
    }
    if (it->state == CONNECTING) {
        int error = 0;
        socklen_t length = sizeof error;
        getsockopt(it->fd, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error != 0)
            finish(it, false);
        else
            send_request(it);
    } else if (it->state == SENDING && events & EPOLLOUT) {
        send_request(it);
    } else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        receive_answer(it);
    }
}

/* Conversations that wait for a place in the backlog, for their time, or to try again after an error.
 * True if one waits for a place. */
static bool wake_waiting(struct conversation *all)
{
    bool full = false;
    double time = now();
    for (int i = 0; i < options.connections; i++) {
        struct conversation *it = &all[i];
        if (it->state == BACKLOG_FULL)
            open_connection(it);
        else if (it->state == IDLE && time >= it->due_at) {
            if (time - it->due_at > options.interval) /* do not catch up after a long answer */
                it->due_at = time;
            ask_next(it);
        }
        full |= it->state == BACKLOG_FULL;
    }
    return full;
}

static bool more_to_do(void)
{
    return !stop && results.finished < options.requests && now() - started_at < options.seconds * 1e6;
}

static void run(struct conversation *all)
{
    struct epoll_event events[EVENTS];
    started_at = now();
    for (int i = 0; i < options.connections; i++) {
        all[i].fd = -1;
        /* spread the questions of a paced run evenly over its interval */
        all[i].due_at = started_at + options.interval * i / options.connections;
        if (options.interval == 0)
            ask_next(&all[i]);
    }
    while (more_to_do()) {
        bool full = wake_waiting(all);
        int count = epoll_wait(epoll_fd, events, EVENTS, full ? 0 : options.interval > 0 ? 1 : 100);
        for (int i = 0; i < count; i++)
            handle_event(events[i].data.ptr, events[i].events);
    }
}

/* ---- output ---- */

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(double share)
{
    return results.answered ? results.latencies[(size_t)((results.answered - 1) * share)] : 0;
}

static void print_results(double elapsed, double processor)
{
    double answered = results.answered ? results.answered : 1;
    qsort(results.latencies, results.answered, sizeof *results.latencies, compare);
    printf("{\"asked\": %u, \"answered\": %u, \"errors\": %u, \"backlog_full\": %llu, \"seconds\": %.4f, "
           "\"rate\": %.1f, \"p50\": %.0f, \"p95\": %.0f, \"p99\": %.0f, \"longest\": %.0f, "
           "\"longest_at\": %.3f, \"cpu_share\": %.3f, \"cpu_per_answer\": %.2f, \"kinds\": {",
           results.asked, results.answered, results.errors, (unsigned long long)results.backlog_full,
           elapsed / 1e6, results.answered / elapsed * 1e6, percentile(.5), percentile(.95),
           percentile(.99), results.longest, results.longest_at, processor / elapsed,
           processor / answered);
    for (int i = 0; i < results.kind_count; i++)
        printf("%s\"%s\": %u", i ? ", " : "", results.kinds[i].word, results.kinds[i].count);
    printf("}}\n");
}

static void write_numbers(const char *path, const uint32_t *numbers, size_t count)
{
    FILE *file = fopen(path, "w");
    if (!file || fwrite(numbers, sizeof *numbers, count, file) != count || fclose(file) != 0)
        fail(path);
}

static uint32_t *read_numbers(const char *path, uint32_t *count)
{
    FILE *file = fopen(path, "r");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        fail(path);
    *count = (uint32_t)(ftell(file) / (long)sizeof(uint32_t));
    rewind(file);
    uint32_t *numbers = calloc(*count + 1, sizeof *numbers);
    if (!numbers || fread(numbers, sizeof *numbers, *count, file) != *count)
        fail(path);
    fclose(file);
    return numbers;
}

/* ---- command line ---- */

static int choose(const char *word, const char *const *words, const char *what)
{
    for (int i = 0; words[i]; i++)
        if (strcmp(word, words[i]) == 0)
            return i;
    errno = 0;
    fprintf(stderr, "load: no such %s: %s\n", what, word);
    exit(2);
}

static void parse_address(char *text)
{
    struct sockaddr_un *local = (struct sockaddr_un *)&options.address;
    struct sockaddr_in *internet = (struct sockaddr_in *)&options.address;
    char *colon = strrchr(text, ':');
    errno = 0;
    if (strncmp(text, "unix:", 5) == 0 && strlen(text + 5) < sizeof local->sun_path) {
        local->sun_family = AF_UNIX;
        strcpy(local->sun_path, text + 5);
        options.address_length = sizeof *local;
        return;
    }
    if (strncmp(text, "tcp:", 4) != 0 || colon == text + 3)
        fail("--socket wants unix:PATH (up to 107 bytes) or tcp:IPV4:PORT");
    *colon = 0;
    internet->sin_family = AF_INET;
    internet->sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, text + 4, &internet->sin_addr) != 1)
        fail("--socket tcp: wants an IPv4 address");
    options.address_length = sizeof *internet;
}

static void parse_pids(char *text)
{
    for (char *word = strtok(text, ","); word; word = strtok(NULL, ","))
        if (options.pid_count < PIDS)
            options.pids[options.pid_count++] = (pid_t)atoi(word);
}

static void parse_command_line(int argc, char **argv)
{
    static const char *const protocols[] = {"postfix", "exim", "greylistd", NULL};
    static const char *const workloads[] = {"new", "known", "mix", NULL};
    static const struct option table[] = {
        {"socket", 1, 0, 'a'},      {"protocol", 1, 0, 'p'},     {"workload", 1, 0, 'w'},
        {"connections", 1, 0, 'c'}, {"requests", 1, 0, 'n'},     {"seed", 1, 0, 's'},
        {"first", 1, 0, 'f'},       {"known", 1, 0, 'k'},        {"new-share", 1, 0, 'm'},
        {"seconds", 1, 0, 't'},     {"interval", 1, 0, 'i'},     {"pids", 1, 0, 'P'},
        {"acknowledged", 1, 0, 'A'}, {"replay", 1, 0, 'R'},      {"stop-at-error", 0, 0, 'x'},
        {0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1)
        switch (option) {
        case 'a': parse_address(optarg); break;
        case 'p': options.protocol = (enum protocol)choose(optarg, protocols, "protocol"); break;
        case 'w': options.workload = (enum workload)choose(optarg, workloads, "workload"); break;
        case 'c': options.connections = atoi(optarg); break;
        case 'n': options.requests = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 's': options.seed = strtoull(optarg, NULL, 10); break;
        case 'f': options.first = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'k': options.known = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'm': options.new_share = (unsigned)atoi(optarg); break;
        case 't': options.seconds = atof(optarg); break;
        case 'i': options.interval = atof(optarg) * 1000; break; /* given in milliseconds */
        case 'P': parse_pids(optarg); break;
        case 'A': options.acknowledged_file = optarg; break;
        case 'R': options.replay_file = optarg; break;
        case 'x': options.stop_at_error = true; break;
        default: exit(2);
        }
    errno = 0;
    if (options.address_length == 0 || options.connections < 1 || options.known < 1)
        fail("--socket is needed, --connections and --known must be at least 1");
}

static void on_signal(int number) { (void)number; stop = true; }

int main(int argc, char **argv)
{
    parse_command_line(argc, argv);
    if (options.replay_file)
        replay = read_numbers(options.replay_file, &options.requests);
    results.latencies = calloc(options.requests + 1, sizeof *results.latencies);
    if (options.acknowledged_file)
        results.acknowledged = calloc(options.requests + 1, sizeof *results.acknowledged);
    struct conversation *all = calloc((size_t)options.connections, sizeof *all);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!results.latencies || !all || epoll_fd < 0)
        fail("cannot start");
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    double processor = processor_time();
    run(all);
    double elapsed = now() - started_at;
    print_results(elapsed, processor_time() - processor);
    if (options.acknowledged_file)
        write_numbers(options.acknowledged_file, results.acknowledged, results.answered);
    return 0;
}
