/* An agent for SCMP_ACT_NOTIFY: agent SOCKET STATES [die]
 * Appends each state it is told to the file STATES, then answers mkdir and mkdirat with ENOMEDIUM and lets everything else
 * happen. With "die" it ends as soon as it has the first listener. */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* Reads the state into the file; returns the listener. */
static int hear(int connection, const char *states)
{
	char text[65536], control[CMSG_SPACE(sizeof(int))];
	struct iovec part = { text, sizeof(text) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	ssize_t length = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int listener, file = open(states, O_WRONLY | O_APPEND | O_CREAT, 0600);

	if (length <= 0 || !header || header->cmsg_type != SCM_RIGHTS)
		fail("recvmsg");
	text[length++] = '\n';
	if (write(file, text, length) != length)
		fail("write");
	close(file);
	memcpy(&listener, CMSG_DATA(header), sizeof(int));
	return listener;
}

static void answer(int listener)
{
	struct seccomp_notif call;
	struct seccomp_notif_resp response;

	memset(&call, 0, sizeof(call));
	memset(&response, 0, sizeof(response));
	/* Whoever asked may be gone by now. */
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
		return;
	response.id = call.id;
	if (call.data.nr == SYS_mkdir || call.data.nr == SYS_mkdirat)
		response.error = -ENOMEDIUM;
	else
		response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) < 0 && errno != ENOENT)
		fail("SECCOMP_IOCTL_NOTIF_SEND");
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct pollfd fds[64];
	int count = 1;

	strncpy(address.sun_path, argv[1], sizeof(address.sun_path) - 1);
	fds[0].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fds[0].events = POLLIN;
	if (bind(fds[0].fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fds[0].fd, 8) < 0)
		fail(argv[1]);
	while (poll(fds, count, -1) >= 0) {
		for (int i = 1; i < count; i++) {
			if (fds[i].revents & POLLIN)
				answer(fds[i].fd);
			else if (fds[i].revents) {
				close(fds[i].fd);
				fds[i--] = fds[--count];
			}
		}
		if (fds[0].revents && count < 64) {
			int connection = accept(fds[0].fd, NULL, NULL);
			fds[count].fd = hear(connection, argv[2]);
			fds[count].events = POLLIN;
			fds[count++].revents = 0;
			close(connection);
			if (argc > 3)
				return 0;
		}
	}
	return 1;
}
