/* DPDK's rte_fib and rte_fib6 as a lookup to be compared with: `fib FAMILY PREFIXES ADDRESSES`, FAMILY 4 or 6.
 *
 * PREFIXES is a file of 17-byte records: an address of 16 bytes, network order, IPv4 in the first four, and a length.
 * ADDRESSES is a file of such addresses. Then for each line on standard input it looks all of them up, in bursts as
 * DPDK's users do, and prints how many are covered and the nanoseconds for each. Memory is ordinary pages, no device
 * is touched. Built and run by `benches/src/dpdk.rs` where the headers are there; never a part of the product. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_eal.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_memory.h>

#define BURST 64
#define COVERED 1

static unsigned char *contents(const char *path, size_t record, size_t *count)
{
	FILE *file = fopen(path, "rb");
	unsigned char *bytes;
	long size;

	if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0) {
		perror(path);
		exit(1);
	}
	rewind(file);
	bytes = malloc(size + 1);
	if (!bytes || fread(bytes, 1, size, file) != (size_t)size) {
		perror(path);
		exit(1);
	}
	fclose(file);
	*count = size / record;
	return bytes;
}

static void refuse(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

static struct rte_fib *fib4(const unsigned char *prefixes, size_t count)
{
	struct rte_fib_conf conf = {
		.type = RTE_FIB_DIR24_8,
		.max_routes = 2000000,
		.dir24_8 = { .nh_sz = RTE_FIB_DIR24_8_2B, .num_tbl8 = 32767 },
	};
	struct rte_fib *fib = rte_fib_create("fib4", SOCKET_ID_ANY, &conf);

	if (!fib)
		refuse("rte_fib_create", ENOMEM);
	for (size_t i = 0; i < count; i++) {
		const unsigned char *p = prefixes + 17 * i;
		uint32_t ip = (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
		int error = rte_fib_add(fib, ip, p[16], COVERED);

		if (error)
			refuse("rte_fib_add", error);
	}
	return fib;
}

static struct rte_fib6 *fib6(const unsigned char *prefixes, size_t count)
{
	struct rte_fib6_conf conf = {
		.type = RTE_FIB6_TRIE,
		.max_routes = 1000000,
		.trie = { .nh_sz = RTE_FIB6_TRIE_4B, .num_tbl8 = 1 << 18 },
	};
	struct rte_fib6 *fib = rte_fib6_create("fib6", SOCKET_ID_ANY, &conf);

	if (!fib)
		refuse("rte_fib6_create", ENOMEM);
	for (size_t i = 0; i < count; i++) {
		const unsigned char *p = prefixes + 17 * i;
		int error = rte_fib6_add(fib, p, p[16], COVERED);

		if (error)
			refuse("rte_fib6_add", error);
	}
	return fib;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int argc, char **argv)
{
	/* One thread, wherever the scheduler wants it. */
	char *eal[] = { "fib", "--no-huge", "--no-pci", "--no-telemetry", "--no-shconf", "--log-level=error",
			"-m", "4096", "--lcores", getenv("FIB_LCORES"), NULL };
	size_t prefix_count, count;
	struct rte_fib6 *six = NULL;
	struct rte_fib *four = NULL;
	unsigned char *prefixes, *addresses;
	uint64_t hops[BURST];
	uint32_t *ips;
	char line[16];

	if (argc != 4 || !eal[9]) {
		fprintf(stderr, "usage: FIB_LCORES=0@(0-N) fib 4|6 PREFIXES ADDRESSES\n");
		return 2;
	}
	if (rte_eal_init(10, eal) < 0)
		refuse("rte_eal_init", EINVAL);
	prefixes = contents(argv[2], 17, &prefix_count);
	addresses = contents(argv[3], 16, &count);
	ips = calloc(count, sizeof(*ips));
	if (!ips)
		refuse("calloc", ENOMEM);
	for (size_t i = 0; i < count; i++) {
		const unsigned char *a = addresses + 16 * i;

		ips[i] = (uint32_t)a[0] << 24 | a[1] << 16 | a[2] << 8 | a[3];
	}
	if (argv[1][0] == '4')
		four = fib4(prefixes, prefix_count);
	else
		six = fib6(prefixes, prefix_count);
	printf("ready\n");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		size_t covered = 0;
		double start = now();

		for (size_t i = 0; i + BURST <= count; i += BURST) {
			if (four)
				rte_fib_lookup_bulk(four, ips + i, hops, BURST);
			else
				rte_fib6_lookup_bulk(six, (uint8_t (*)[16])(addresses + 16 * i), hops, BURST);
			for (int j = 0; j < BURST; j++)
				covered += hops[j] == COVERED;
		}
		printf("%zu %.3f\n", covered, (now() - start) / count);
		fflush(stdout);
	}
	return 0;
}
