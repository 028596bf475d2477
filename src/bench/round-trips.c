/*
 * round-trips ROUNDS REQUESTS {CLIENT-NAMESPACE SERVER-NAMESPACE SOURCE TARGET}...: what a request and its answer take over
 * several ways, by turns of some milliseconds, so that what the machine does to one it does to all.
 *
 * One connection for each way, all from this one process, each to a process of its own that answers: which core wakes
 * which is the same for all. For each round one line: of each way the median round trip in microseconds, in the order of
 * the arguments. Exit code 1, with the system call that failed.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { MOST_WAYS = 16, MESSAGE = 14, PORT = 5303, WORDS = 4 };

static void fail(const char *what) {
  perror(what);
  exit(1);
}

/* Sockets stay in the namespace that they are made in. */
static void enter(const char *namespace) {
  char path[256];
  snprintf(path, sizeof path, "/run/netns/%s", namespace);
  const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0 || setns(descriptor, CLONE_NEWNET) != 0) fail(path);
  close(descriptor);
}

static int open_socket(const char *address, int port, struct sockaddr_in *name) {
  const int on = 1;
  const int socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket_ < 0) fail("socket");
  setsockopt(socket_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  /* What is accepted has it of the listener. */
  if (setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) fail("TCP_NODELAY");
  memset(name, 0, sizeof *name);
  name->sin_family = AF_INET;
  name->sin_port = htons(port);
  if (inet_pton(AF_INET, address, &name->sin_addr) != 1) fail(address);
  if (bind(socket_, (struct sockaddr *)name, sizeof *name) != 0) fail(address);
  return socket_;
}

static void pass(int connection, char *message) {
  /* A few bytes into an empty socket: all or none. */
  if (write(connection, message, MESSAGE) < 0) fail("write");
}

/* @return 0 at the end of the connection */
static int receive(int connection, char *message) {
  const ssize_t got = recv(connection, message, MESSAGE, MSG_WAITALL);
  if (got < 0) fail("recv");
  return got == MESSAGE;
}

static void answer(int connection) {
  char message[MESSAGE];
  while (receive(connection, message)) pass(connection, message);
  exit(0);
}

/* @return our end of a connection whose other end a process of its own answers */
static int connect_way(char **way) {
  struct sockaddr_in source, target;
  enter(way[1]);
  const int listener = open_socket(way[3], PORT, &target);
  if (listen(listener, 1) != 0) fail("listen");
  enter(way[0]);
  const int connection = open_socket(way[2], 0, &source);
  if (connect(connection, (struct sockaddr *)&target, sizeof target) != 0) fail(way[3]);
  const int accepted = accept(listener, NULL, NULL);
  if (accepted < 0) fail("accept");
  close(listener);
  /* A way that dies ends this program, and not only after TCP's quarter of an hour. */
  const struct timeval deadline = {.tv_sec = 10};
  if (setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline) != 0) fail("SO_RCVTIMEO");
  const pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(connection);
    answer(accepted);
  }
  close(accepted);
  return connection;
}

static double microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b) {
  const double difference = *(const double *)a - *(const double *)b;
  return (difference > 0) - (difference < 0);
}

static double median_trip(int connection, double *trips, int requests) {
  char message[MESSAGE] = {0};
  double before = microseconds();
  for (int i = 0; i < requests; i++) {
    pass(connection, message);
    if (!receive(connection, message)) {
      fprintf(stderr, "a connection ended\n");
      exit(1);
    }
    const double now = microseconds();
    trips[i] = now - before;
    before = now;
  }
  qsort(trips, requests, sizeof *trips, compare);
  return trips[requests / 2];
}

static void shuffle(int *order, int count) {
  for (int i = count - 1; i > 0; i--) {
    const int other = rand() % (i + 1);
    const int kept = order[i];
    order[i] = order[other];
    order[other] = kept;
  }
}

int main(int count, char **values) {
  const int ways = (count - 3) / WORDS;
  const int rounds = count > 2 ? atoi(values[1]) : 0, requests = count > 2 ? atoi(values[2]) : 0;
  if (ways < 1 || ways > MOST_WAYS || (count - 3) % WORDS != 0 || rounds < 1 || requests < 1) {
    fprintf(stderr, "usage: round-trips ROUNDS REQUESTS {CLIENT-NAMESPACE SERVER-NAMESPACE SOURCE TARGET}...\n");
    return 1;
  }
  srand(time(NULL)); /* the order of turns is another one in each lab */
  int connections[MOST_WAYS], order[MOST_WAYS];
  double medians[MOST_WAYS], *trips = malloc(requests * sizeof *trips);
  if (trips == NULL) fail("malloc");
  for (int i = 0; i < ways; i++) {
    order[i] = i;
    connections[i] = connect_way(values + 3 + WORDS * i);
  }
  /* The first round, in which caches fill and the congestion window opens, is not told. */
  for (int round = -1; round < rounds; round++) {
    shuffle(order, ways);
    for (int i = 0; i < ways; i++) medians[order[i]] = median_trip(connections[order[i]], trips, requests);
    if (round < 0) continue;
    for (int i = 0; i < ways; i++) printf("%.3f%c", medians[i], i + 1 < ways ? ' ' : '\n');
  }
  free(trips);
  return 0;
}
