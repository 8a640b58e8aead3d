/*
 * SMTP load over STARTTLS, which smtp-source does not have: tls_load PORT SESSIONS COUNT SIZE
 *
 * SIZE 0: COUNT times connect, EHLO, STARTTLS, a full handshake, EHLO, QUIT. Otherwise COUNT messages of SIZE bytes over
 * kept TLS sessions, each command waiting for its reply as smtp-source does. SESSIONS processes share the work.
 * Exit status 0 when every reply was a good one. Build: cc -O2 tls_load.c -lssl -lcrypto
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REPLY_LIMIT = 4096, LINE_LENGTH = 78 };

struct peer {
    int socket;
    SSL *tls;
};

static void fail(const char *what)
{
    fprintf(stderr, "tls_load: %s\n", what);
    _exit(1);
}

static void say(struct peer *peer, const char *data, int length)
{
    int done = peer->tls ? SSL_write(peer->tls, data, length) : (int) write(peer->socket, data, length);
    if (done != length)
        fail("the server does not read");
}

/* One reply, which may have several lines; nothing is pipelined, so nothing follows it. */
static void expect(struct peer *peer, char first_digit)
{
    char reply[REPLY_LIMIT];
    int length = 0, start = 0;
    for (;;) {
        int room = REPLY_LIMIT - length;
        int count = peer->tls ? SSL_read(peer->tls, reply + length, room) : (int) read(peer->socket, reply + length, room);
        if (count <= 0)
            fail("the server has gone");
        length += count;
        for (char *end; (end = memchr(reply + start, '\n', length - start)); start = end + 1 - reply) {
            if (end - (reply + start) >= 4 && reply[start + 3] == ' ') {
                if (reply[start] != first_digit)
                    fail(reply);
                return;
            }
        }
    }
}

static void ask(struct peer *peer, const char *command, char first_digit)
{
    say(peer, command, (int) strlen(command));
    expect(peer, first_digit);
}

static struct peer open_session(int port, SSL_CTX *context)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct peer peer = {socket(AF_INET, SOCK_STREAM, 0), NULL};
    int on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(peer.socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(peer.socket, (struct sockaddr *) &address, sizeof address))
        fail("cannot connect");
    expect(&peer, '2');
    ask(&peer, "EHLO client.example.com\r\n", '2');
    ask(&peer, "STARTTLS\r\n", '2');
    SSL *tls = SSL_new(context);
    SSL_set_fd(tls, peer.socket);
    if (SSL_connect(tls) != 1)
        fail("no handshake");
    peer.tls = tls;
    ask(&peer, "EHLO client.example.com\r\n", '2');
    return peer;
}

static void close_session(struct peer *peer)
{
    ask(peer, "QUIT\r\n", '2');
    SSL_shutdown(peer->tls);
    SSL_free(peer->tls);
    close(peer->socket);
}

static char *make_content(int size, int *length)
{
    char *content = malloc(size + 2 * LINE_LENGTH + 64);
    int at = sprintf(content, "Subject: load\r\n\r\n");
    while (at < size) {
        memset(content + at, 'x', LINE_LENGTH - 2);
        memcpy(content + at + LINE_LENGTH - 2, "\r\n", 2);
        at += LINE_LENGTH;
    }
    memcpy(content + at, ".\r\n", 3);
    *length = at + 3;
    return content;
}

static void work(int port, int count, int size)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    if (!size) {
        for (; count > 0; count--) {
            struct peer peer = open_session(port, context);
            close_session(&peer);
        }
        return;
    }
    int length;
    char *content = make_content(size, &length);
    struct peer peer = open_session(port, context);
    for (; count > 0; count--) {
        ask(&peer, "MAIL FROM:<sender@example.com>\r\n", '2');
        ask(&peer, "RCPT TO:<recipient@example.net>\r\n", '2');
        ask(&peer, "DATA\r\n", '3');
        say(&peer, content, length);
        expect(&peer, '2');
    }
    close_session(&peer);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        fail("usage: tls_load PORT SESSIONS COUNT SIZE");
    int port = atoi(argv[1]), sessions = atoi(argv[2]), count = atoi(argv[3]), size = atoi(argv[4]);
    for (int number = 0; number < sessions; number++) {
        if (fork() == 0) {
            work(port, count / sessions + (number < count % sessions), size);
            _exit(0);
        }
    }
    int status, failed = 0;
    while (wait(&status) > 0)
        failed |= status;
    return failed ? 1 : 0;
}
