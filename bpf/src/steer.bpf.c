// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Steers frames: what belongs to the engine goes to the AF_XDP socket of the
// queue that it arrived on, all else goes on to the kernel.
//
//   owned whole address   ARP and ND for it, ICMP and TCP to it
//   owned port ranges     TCP to those ports; the kernel keeps the address
//
// It decides, counts and changes nothing. All is of one VLAN, or untagged. A tag
// that the device took out of the frame before (`ethtool -k IF`,
// rx-vlan-offload) can't be seen here.
//
// Where the ports can't be seen, an owned address takes the packet and an owned
// port range leaves it to the kernel: in a later fragment (RFC 791, 3.2; RFC
// 8200, 4.5), and behind more than HEADERS_MAX extension headers.
//
// What goes to a multicast group stays the kernel's, but for solicitations of an
// owned address: router advertisements, MLD, and the kernel's own discovery.
// Advertisements that answer the engine come to its own address (RFC 4861,
// 7.2.4); a neighbor that announces a new address to all nodes is found out by
// the engine's unreachability detection instead.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// The kernel's interface (linux/bpf.h), as far as it is used here.
enum { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_PERCPU_ARRAY = 6, BPF_MAP_TYPE_XSKMAP = 17 };
enum { XDP_PASS = 2, XDP_REDIRECT = 4 };
struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_redirect_map)(void *map, u64 key, u64 flags) = (void *)51;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define COPY(to, from, count) __builtin_memcpy((to), (from), (count))

// An IPv4 address is written as its IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2).
struct address { u8 bytes[16]; };

#define RANGES 4
struct owned {
	struct { u16 first, last; } ports[RANGES];  // none: first > last
};

// Ports 0 to 65535 are the address itself, with ARP, ND and ICMP.
#define OWNS_WHOLE(owned) ((owned)->ports[0].first == 0 && (owned)->ports[0].last == 0xffff)

struct {
	int (*type)[BPF_MAP_TYPE_HASH];
	int (*max_entries)[4096];
	struct address *key;
	struct owned *value;
} OWNED SECTION(".maps");

struct {
	int (*type)[BPF_MAP_TYPE_XSKMAP];
	int (*max_entries)[256];
	u32 *key;
	u32 *value;
} SOCKETS SECTION(".maps");

enum verdict { TAKEN, PASSED, UNDELIVERABLE, VERDICTS };
struct {
	int (*type)[BPF_MAP_TYPE_PERCPU_ARRAY];
	int (*max_entries)[VERDICTS];
	u32 *key;
	u64 *value;
} VERDICT_COUNTS SECTION(".maps");

// The VLAN of all that is owned, set before the program is loaded; 0 is none. A
// frame tagged with VLAN 0 is in no VLAN either, it only has a priority (802.1Q).
const volatile u16 VLAN = 0;

INLINE u16 be16(const u8 *p) { return p[0] << 8 | p[1]; }

INLINE struct address mapped(const u8 *ipv4)
{
	struct address address = { .bytes = { [10] = 0xff, [11] = 0xff } };
	COPY(address.bytes + 12, ipv4, 4);
	return address;
}

INLINE int owns_address(struct address address)
{
	struct owned *owned = bpf_map_lookup_elem(&OWNED, &address);
	return owned && OWNS_WHOLE(owned);
}

// `tcp` may lie past the end (a later fragment, a runt): then no range owns it.
INLINE int owns_segment(struct address address, const u8 *tcp, const u8 *end)
{
	struct owned *owned = bpf_map_lookup_elem(&OWNED, &address);
	if (!owned)
		return 0;
	if (OWNS_WHOLE(owned))
		return 1;
	if (!tcp || tcp + 4 > end)
		return 0;
	u16 port = be16(tcp + 2);
#pragma unroll
	for (int i = 0; i < RANGES; i++)
		if (owned->ports[i].first <= port && port <= owned->ports[i].last)
			return 1;
	return 0;
}

// RFC 826: the target's protocol address. A reply to the engine has it there too.
INLINE int takes_arp(const u8 *arp, const u8 *end)
{
	return arp + 28 <= end && owns_address(mapped(arp + 24));
}

INLINE int takes_ipv4(const u8 *ip, const u8 *end)
{
	if (ip + 20 > end || ip[0] >> 4 != 4)
		return 0;
	u8 protocol = ip[9];
	if (protocol == 1)
		return owns_address(mapped(ip + 16));
	if (protocol != 6)
		return 0;
	int is_later_fragment = be16(ip + 6) & 0x1fff;
	const u8 *tcp = ip + (ip[0] & 0x0f) * 4;
	return owns_segment(mapped(ip + 16), is_later_fragment ? 0 : tcp, end);
}

// Extension headers that are looked behind (RFC 8200, 4); the rest would be work
// that an attacker chooses.
#define HEADERS_MAX 4
enum { HOP_BY_HOP = 0, TCP = 6, ROUTING = 43, FRAGMENT = 44, ICMPV6 = 58, OPTIONS = 60 };

INLINE int is_extension(u8 header)
{
	return header == HOP_BY_HOP || header == ROUTING || header == FRAGMENT || header == OPTIONS;
}

// A neighbor solicitation goes to a multicast address (RFC 4861, 4.3): its target counts.
INLINE int takes_icmpv6(struct address destination, const u8 *icmp, const u8 *end)
{
	if (icmp && icmp + 24 <= end && icmp[0] == 135)
		COPY(&destination, icmp + 8, 16);
	return owns_address(destination);
}

INLINE int takes_ipv6(const u8 *ip, const u8 *end)
{
	struct address destination;
	if (ip + 40 > end || ip[0] >> 4 != 6)
		return 0;
	COPY(&destination, ip + 24, 16);
	u8 kind = ip[6];
	const u8 *header = ip + 40;
#pragma unroll
	for (int i = 0; i < HEADERS_MAX; i++) {
		if (!is_extension(kind))
			break;
		if (header + 8 > end)
			return owns_segment(destination, 0, end);
		int is_fragment = kind == FRAGMENT;
		kind = header[0];
		if (is_fragment && be16(header + 2) & 0xfff8) {
			header = 0;
			break;
		}
		header += is_fragment ? 8 : (header[1] + 1) * 8;
	}
	if (kind == TCP)
		return owns_segment(destination, header, end);
	if (kind == ICMPV6)
		return takes_icmpv6(destination, header, end);
	return is_extension(kind) && owns_segment(destination, 0, end);
}

INLINE int takes(const u8 *frame, const u8 *end)
{
	if (frame + 14 > end)
		return 0;
	u16 ethertype = be16(frame + 12), vlan = 0;
	const u8 *packet = frame + 14;
	if (ethertype == 0x8100) {
		if (frame + 18 > end)
			return 0;
		vlan = be16(frame + 14) & 0x0fff;
		ethertype = be16(frame + 16);
		packet = frame + 18;
	}
	if (vlan != VLAN)
		return 0;
	switch (ethertype) {
	case 0x0806: return takes_arp(packet, end);
	case 0x0800: return takes_ipv4(packet, end);
	case 0x86dd: return takes_ipv6(packet, end);
	default: return 0;
	}
}

INLINE int steer_frame(struct xdp_md *ctx)
{
	u32 verdict = PASSED;
	long action = XDP_PASS;
	if (takes((const u8 *)(u64)ctx->data, (const u8 *)(u64)ctx->data_end)) {
		// Without a socket on this queue the kernel gets the frame.
		action = bpf_redirect_map(&SOCKETS, ctx->rx_queue_index, XDP_PASS);
		verdict = action == XDP_REDIRECT ? TAKEN : UNDELIVERABLE;
	}
	u64 *count = bpf_map_lookup_elem(&VERDICT_COUNTS, &verdict);
	if (count)
		*count += 1;
	return action;
}

SECTION("xdp") int steer(struct xdp_md *ctx) { return steer_frame(ctx); }

// The same for frames of several buffers, of which it sees the first (Linux 5.18).
SECTION("xdp.frags") int steer_frags(struct xdp_md *ctx) { return steer_frame(ctx); }

char LICENSE[] SECTION("license") = "Dual MIT/GPL";
