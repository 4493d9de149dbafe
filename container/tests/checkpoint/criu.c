/* Stands in for criu: criu swrk SOCKET
 * Takes one request and asks back as criu does, but looks at nothing and writes nothing: a dump kills the process that it is
 * to save, a restore makes one that waits in namespaces of its own. When the runtime goes away in between it ends, too. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DUMP = 1, RESTORE = 2, NOTIFY = 6 };

static int channel;

/* The number of the field `wanted` of a message, or where it begins and how long it is. */
static long field(const unsigned char *message, size_t length, int wanted, const unsigned char **begin)
{
	long found = 0;
	for (size_t at = 0; at < length;) {
		unsigned long numbers[2] = {0};
		for (int i = 0; i < 2; i++) {
			for (int shift = 0; at < length; shift += 7) {
				numbers[i] |= (unsigned long)(message[at] & 0x7f) << shift;
				if (!(message[at++] & 0x80))
					break;
			}
		}
		if (numbers[0] >> 3 == (unsigned long)wanted) {
			found = (long)numbers[1];
			if (begin)
				*begin = message + at;
		}
		if ((numbers[0] & 7) == 2)
			at += numbers[1];
	}
	return found;
}

static size_t number(unsigned char *place, int field, unsigned long value)
{
	size_t length = 0;
	place[length++] = field << 3;
	do {
		place[length++] = (value & 0x7f) | (value > 0x7f ? 0x80 : 0);
		value >>= 7;
	} while (value);
	return length;
}

static size_t bytes(unsigned char *place, int field, const void *value, size_t size)
{
	place[0] = field << 3 | 2;
	place[1] = size;
	memcpy(place + 2, value, size);
	return size + 2;
}

/* A response of this type, with a message in it. */
static void respond(int type, int field, const unsigned char *inner, size_t size)
{
	unsigned char message[128];
	size_t length = number(message, 1, type);
	length += number(message + length, 2, 1);
	if (field)
		length += bytes(message + length, field, inner, size);
	if (send(channel, message, length, MSG_NOSIGNAL) < 0)
		exit(1);
}

/* Has the runtime do its part, and goes on only when it did. */
static void ask(const char *script, int pid)
{
	unsigned char inner[64], answer[64];
	size_t length = bytes(inner, 1, script, strlen(script));
	length += number(inner + length, 2, pid);
	respond(NOTIFY, 5, inner, length);
	ssize_t got = recv(channel, answer, sizeof answer, 0);
	if (got <= 0 || field(answer, got, 3, NULL) != 1)
		exit(1);
}

/* A child of the runtime's. */
static int restored(void)
{
	long flags = CLONE_PARENT | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | SIGCHLD;
	int pid = syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
	if (pid == 0) {
		close(channel);
		for (;;)
			pause();
	}
	return pid;
}

int main(int argc, char **argv)
{
	static unsigned char request[65536];
	const unsigned char *options = NULL;
	unsigned char inner[16];
	channel = argc > 2 ? atoi(argv[2]) : -1;
	ssize_t length = recv(channel, request, sizeof request, 0);
	if (length <= 0)
		return 1;
	size_t size = field(request, length, 2, &options);
	if (field(request, length, 1, NULL) == DUMP) {
		int pid = field(options, size, 2, NULL);
		ask("pre-dump", pid);
		kill(pid, SIGKILL);
		ask("post-dump", pid);
		respond(DUMP, 0, NULL, 0);
	} else {
		int pid = restored();
		if (pid < 0)
			return 1;
		ask("setup-namespaces", pid);
		ask("post-restore", pid);
		respond(RESTORE, 4, inner, number(inner, 1, pid));
	}
	/* The runtime closes its end when it has heard. */
	return recv(channel, request, sizeof request, 0) != 0;
}
