/*
 * The kernel's own limit: how fast Linux takes what Weft sends, with nothing but C in between.
 *
 * Sends the messages that Weft sends (src/kernel/apply.ts), rank by rank and in batches, and asks for an acknowledgement on the last
 * message of a batch only; errors are reported anyway. Prints one line of JSON:
 *
 *   {"mode":"nexthop","peers":20000,"items":40000,"seconds":0.123,"errors":0}
 *
 * Modes, each for PEERS peers with one IPv4 subnet, 10.0.0.0/24 and following:
 *
 *   one-gateway  a route; all over the gateway ADDRESS
 *   onlink       a route over a gateway of its own: ADDRESS and following, `onlink`
 *   nexthop      a nexthop object with a gateway of its own, `onlink`, and a route that names it
 *   vxlan        an FDB entry to ADDRESS and following, a neighbour, a nexthop object, and a route that names it
 *
 * Linux finds equal IPv4 route descriptors by a hash that leaves the gateway out (net/ipv4/fib_semantics.c), so `onlink` walks all
 * earlier peers for each new one, and `nexthop` does not.
 *
 * Works in a network namespace that the caller made, and leaves what it added there:
 *
 *   gcc -O2 -Wall -Wextra -o /tmp/limit bench/limit.c
 *
 *   unshare -Urn sh -c '
 *     ip link add eth0 type veth peer name eth1 && ip link set eth1 up && ip link set eth0 up
 *     ip address add 192.168.0.1/16 dev eth0
 *     exec /tmp/limit one-gateway 20000 eth0 192.168.0.2'
 *
 *   unshare -Urn sh -c '
 *     ip link set lo up && ip address add 192.168.0.1/16 dev lo
 *     ip link add flannel.1 type vxlan id 1 local 192.168.0.1 dstport 8472 nolearning && ip link set flannel.1 up
 *     ip address add 10.255.0.0/32 dev flannel.1
 *     exec /tmp/limit -s 10.255.0.0 vxlan 20000 flannel.1 192.168.0.2'
 *
 * `onlink` and `nexthop` go like `one-gateway`. Take the best of several runs with pauses: one lock (rtnl) serves all namespaces, and
 * the kernel holds it too while it clears those that earlier runs left.
 *
 * Needs Linux 5.3 for nexthop objects. Follows linux/rtnetlink.h, linux/nexthop.h and linux/neighbour.h.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PROTOCOL 87               /* Weft's mark on routes and nexthops */
#define FIRST_SUBNET 0x0a000000u  /* 10.0.0.0 */
#define MAX_PEERS 65280           /* up to 10.254.255.0/24 */
#define BATCH_BYTES (256 * 1024)
#define MAX_MESSAGE 256
#define BUFFER (8 * 1024 * 1024)

struct run {
	int sock;
	uint32_t link;       /* index of the device */
	uint32_t address;    /* host byte order */
	uint32_t src;        /* network byte order; 0 for none */
	uint32_t batch;      /* messages at the most */
	uint32_t seq;
	uint32_t errors;
	uint32_t items;
	size_t used;         /* bytes of the batch */
	struct nlmsghdr *last;
	char bytes[BATCH_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
};

typedef void message(struct run *run, uint32_t peer);

static void die(const char *what)
{
	fprintf(stderr, "Cannot %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint32_t subnet_of(uint32_t peer)
{
	return FIRST_SUBNET + (peer << 8);
}

/* Starts a message in the batch, its body cleared. */
static void *start(struct run *run, uint16_t type, uint16_t flags, size_t size)
{
	run->last = (struct nlmsghdr *)(run->bytes + run->used);
	memset(run->last, 0, NLMSG_SPACE(size));
	run->last->nlmsg_len = NLMSG_SPACE(size);
	run->last->nlmsg_type = type;
	run->last->nlmsg_flags = NLM_F_REQUEST | flags;
	run->last->nlmsg_seq = ++run->seq;
	return NLMSG_DATA(run->last);
}

static void attribute(struct run *run, uint16_t type, const void *data, size_t size)
{
	struct rtattr *attr = (struct rtattr *)((char *)run->last + run->last->nlmsg_len);

	memset(attr, 0, RTA_SPACE(size));
	attr->rta_type = type;
	attr->rta_len = RTA_LENGTH(size);
	memcpy(RTA_DATA(attr), data, size);
	run->last->nlmsg_len += RTA_SPACE(size);
}

static void attribute_u32(struct run *run, uint16_t type, uint32_t value)
{
	attribute(run, type, &value, sizeof(value));
}

static void mac_attribute(struct run *run, uint32_t peer)
{
	uint8_t mac[6] = { 0x02, 0x00, 0x00, peer >> 16, peer >> 8, peer };

	attribute(run, NDA_LLADDR, mac, sizeof(mac));
}

static struct rtmsg *start_route(struct run *run, uint32_t peer)
{
	struct rtmsg *route = start(run, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof(*route));

	route->rtm_family = AF_INET;
	route->rtm_dst_len = 24;
	route->rtm_table = RT_TABLE_MAIN;
	route->rtm_protocol = PROTOCOL;
	route->rtm_type = RTN_UNICAST;
	attribute_u32(run, RTA_DST, htonl(subnet_of(peer)));
	if (run->src != 0)
		attribute_u32(run, RTA_PREFSRC, run->src);
	return route;
}

static void route_over_one(struct run *run, uint32_t peer)
{
	start_route(run, peer);
	attribute_u32(run, RTA_OIF, run->link);
	attribute_u32(run, RTA_GATEWAY, htonl(run->address));
}

static void route_onlink(struct run *run, uint32_t peer)
{
	start_route(run, peer)->rtm_flags = RTNH_F_ONLINK;
	attribute_u32(run, RTA_OIF, run->link);
	attribute_u32(run, RTA_GATEWAY, htonl(run->address + peer));
}

static void route_by_id(struct run *run, uint32_t peer)
{
	start_route(run, peer);
	attribute_u32(run, RTA_NH_ID, subnet_of(peer));
}

static void nexthop(struct run *run, uint32_t peer, uint32_t gateway)
{
	struct nhmsg *hop = start(run, RTM_NEWNEXTHOP, NLM_F_CREATE | NLM_F_EXCL, sizeof(*hop));

	hop->nh_family = AF_INET;
	hop->nh_protocol = PROTOCOL;
	hop->nh_flags = RTNH_F_ONLINK;
	attribute_u32(run, NHA_ID, subnet_of(peer));
	attribute_u32(run, NHA_OIF, run->link);
	attribute_u32(run, NHA_GATEWAY, htonl(gateway));
}

static void nexthop_of_peer(struct run *run, uint32_t peer)
{
	nexthop(run, peer, run->address + peer);
}

/* The VTEP of a peer has the first address of its subnet. */
static void nexthop_vtep(struct run *run, uint32_t peer)
{
	nexthop(run, peer, subnet_of(peer));
}

static struct ndmsg *start_neighbour(struct run *run, uint8_t family)
{
	struct ndmsg *entry = start(run, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*entry));

	entry->ndm_family = family;
	entry->ndm_ifindex = run->link;
	entry->ndm_state = NUD_PERMANENT;
	return entry;
}

static void fdb(struct run *run, uint32_t peer)
{
	start_neighbour(run, AF_BRIDGE)->ndm_flags = NTF_SELF;
	attribute_u32(run, NDA_DST, htonl(run->address + peer));
	mac_attribute(run, peer);
}

static void neighbour(struct run *run, uint32_t peer)
{
	start_neighbour(run, AF_INET)->ndm_type = RTN_UNICAST;
	attribute_u32(run, NDA_DST, htonl(subnet_of(peer)));
	mac_attribute(run, peer);
}

/* Reads answers up to the acknowledgement of the last message. */
static void await_answers(struct run *run)
{
	static char answers[64 * 1024] __attribute__((aligned(NLMSG_ALIGNTO)));

	for (;;) {
		ssize_t got = recv(run->sock, answers, sizeof(answers), 0);

		if (got < 0)
			die("read the kernel's answers");
		for (struct nlmsghdr *head = (void *)answers; NLMSG_OK(head, got); head = NLMSG_NEXT(head, got)) {
			struct nlmsgerr *answer = NLMSG_DATA(head);

			if (head->nlmsg_type != NLMSG_ERROR)
				continue;
			if (answer->error != 0 && run->errors++ == 0)
				fprintf(stderr, "The first error, of message %u: %s\n", head->nlmsg_seq, strerror(-answer->error));
			if (head->nlmsg_seq == run->seq)
				return;
		}
	}
}

static void send_batch(struct run *run)
{
	run->last->nlmsg_flags |= NLM_F_ACK;
	if (send(run->sock, run->bytes, run->used, 0) != (ssize_t)run->used)
		die("send a batch");
	await_answers(run);
	run->used = 0;
}

/* Sends one message for each peer. */
static void send_rank(struct run *run, message *write, uint32_t peers)
{
	for (uint32_t peer = 0, count = 0; peer < peers; peer++) {
		write(run, peer);
		run->used += NLMSG_ALIGN(run->last->nlmsg_len);
		run->items++;
		if (++count == run->batch || run->used + MAX_MESSAGE > BATCH_BYTES || peer + 1 == peers) {
			send_batch(run);
			count = 0;
		}
	}
}

static int open_socket(void)
{
	int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int size = BUFFER, on = 1;
	struct timeval patience = { .tv_sec = 10 };

	if (sock < 0)
		die("open a netlink socket");
	/* In a user namespace the forced size is refused, and the usual one is cut to net.core.*mem_max. */
	if (setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0)
		setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(sock, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	setsockopt(sock, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	return sock;
}

static const struct mode {
	const char *name;
	message *ranks[5];
} modes[] = {
	{ "one-gateway", { route_over_one } },
	{ "onlink", { route_onlink } },
	{ "nexthop", { nexthop_of_peer, route_by_id } },
	{ "vxlan", { fdb, neighbour, nexthop_vtep, route_by_id } },
};

static _Noreturn void usage(void)
{
	fprintf(stderr, "Usage: limit [-b MESSAGES] [-s SRC] one-gateway|onlink|nexthop|vxlan PEERS DEVICE ADDRESS\n"
		"  -b MESSAGES  in one batch at the most (default 512)\n"
		"  -s SRC       source address of the routes\n"
		"  PEERS        1 to %d\n", MAX_PEERS);
	exit(2);
}

static uint32_t parse_number(const char *text, unsigned long most)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0' || number < 1 || number > most)
		usage();
	return number;
}

static uint32_t parse_address(const char *text)
{
	struct in_addr address;

	if (inet_pton(AF_INET, text, &address) != 1)
		usage();
	return address.s_addr;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	static struct run run = { .batch = 512 };
	const struct mode *mode = NULL;

	for (int option; (option = getopt(argc, argv, "b:s:")) != -1;) {
		if (option == 'b')
			run.batch = parse_number(optarg, BATCH_BYTES);
		else if (option == 's')
			run.src = parse_address(optarg);
		else
			usage();
	}
	if (argc - optind != 4)
		usage();
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(argv[optind], modes[i].name) == 0)
			mode = &modes[i];
	if (mode == NULL)
		usage();

	uint32_t peers = parse_number(argv[optind + 1], MAX_PEERS);

	run.link = if_nametoindex(argv[optind + 2]);
	if (run.link == 0)
		die("find the device");
	run.address = ntohl(parse_address(argv[optind + 3]));
	run.sock = open_socket();

	double begin = now();

	for (message *const *rank = mode->ranks; *rank != NULL; rank++)
		send_rank(&run, *rank, peers);
	printf("{\"mode\":\"%s\",\"peers\":%u,\"items\":%u,\"seconds\":%.6f,\"errors\":%u}\n",
	       mode->name, peers, run.items, now() - begin, run.errors);
	return 0;
}
