/* Answers every HTTP request on port 5000 with "hello". With --self-test it asks itself once, prints the answer and ends. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n";

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static struct sockaddr_in address(unsigned long host)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr = {htonl(host)}};
    return to;
}

static void serve_one(int server)
{
    char request[4096];
    int client = accept(server, NULL, NULL);
    if (client < 0)
        return;
    if (read(client, request, sizeof request) > 0 && write(client, answer, sizeof answer - 1) < 0)
        perror("hello: answer");
    close(client);
}

/* The other side of the conversation: a request to ourselves, over the loopback of the pod. */
static int ask(void)
{
    char text[4096];
    size_t length = 0;
    ssize_t count;
    struct sockaddr_in to = address(INADDR_LOOPBACK);
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (server < 0 || connect(server, (struct sockaddr *)&to, sizeof to) < 0)
        return fail("hello: connect to port 5000");
    if (write(server, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 35) != 35)
        return fail("hello: ask");
    while ((count = read(server, text + length, sizeof text - 1 - length)) > 0)
        length += count;
    text[length] = 0;
    char *body = strstr(text, "\r\n\r\n");
    if (!body)
        return fail("hello: no answer");
    fputs(body + 4, stdout);
    return fflush(stdout) ? fail("hello: write") : 0;
}

int main(int argc, char **argv)
{
    int once = argc > 1 && !strcmp(argv[1], "--self-test"), yes = 1, status = 1;
    struct sockaddr_in any = address(INADDR_ANY);
    int server = socket(AF_INET, SOCK_STREAM, 0);
    /* As PID 1 of a namespace it would otherwise ignore this. */
    signal(SIGTERM, _exit);
    if (server < 0 || setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0)
        return fail("hello: socket");
    if (bind(server, (struct sockaddr *)&any, sizeof any) < 0 || listen(server, 16) < 0)
        return fail("hello: listen on port 5000");
    fprintf(stderr, "hello: listening on port 5000\n");
    if (!once)
        for (;;)
            serve_one(server);
    if (fork() == 0)
        _exit(ask());
    serve_one(server);
    wait(&status);
    return status != 0;
}
