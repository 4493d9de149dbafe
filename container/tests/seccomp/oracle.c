/* What libseccomp makes of profiles, used as runc does.
 * Standard input has lines:
 *   filter DEFAULT                                 starts a profile; numbers are hexadecimal
 *   arch TOKEN                                     another architecture
 *   rule ACTION NAME COUNT [ARG OP A B]...         a rule with conditions (OP: enum scmp_compare)
 *   end                                            answered: status, highest numbers, length (32 bits each), instructions
 *   number TOKEN NAME                              answered: the number of a call (32 bits)
 * The status is 0, or the error of the first thing that failed. The highest numbers of the rules' names are, in this
 * order, those for the native architecture and for each one that was added, 8 in all. */
#define _GNU_SOURCE
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ARCHES 8

static void put(const void *bytes, size_t length)
{
	if (fwrite(bytes, 1, length, stdout) != length)
		exit(1);
}

static void answer(scmp_filter_ctx ctx, int32_t status, const int32_t *highest)
{
	static char program[1 << 20];
	int file = memfd_create("program", MFD_CLOEXEC);
	uint32_t length = 0;
	ssize_t bytes;

	if (!status)
		status = seccomp_export_bpf(ctx, file);
	bytes = pread(file, program, sizeof(program), 0);
	if (!status)
		length = bytes / 8;
	put(&status, 4);
	put(highest, 4 * ARCHES);
	put(&length, 4);
	put(program, 8 * length);
	fflush(stdout);
	close(file);
}

int main(void)
{
	static char line[1 << 20];
	scmp_filter_ctx ctx = NULL;
	uint32_t arches[ARCHES];
	int32_t status = 0, highest[ARCHES];
	int count = 0, rules = 0;

	while (fgets(line, sizeof(line), stdin)) {
		char *rest = line + strcspn(line, " \n") + 1, name[64];
		unsigned long first = strtoul(rest, &rest, 16);

		if (!strncmp(line, "filter ", 7)) {
			ctx = seccomp_init(first);
			status = ctx ? 0 : -1;
			arches[0] = seccomp_arch_native();
			count = 1;
			rules = 0;
			memset(highest, 0xff, sizeof(highest));
		} else if (!strncmp(line, "arch ", 5)) {
			int failed = seccomp_arch_add(ctx, first);
			/* The native one is there already. */
			if (failed && failed != -17 && !status)
				status = failed;
			if (!failed)
				arches[count++] = first;
		} else if (!strncmp(line, "rule ", 5)) {
			struct scmp_arg_cmp conditions[6];
			int number, conditions_count, read, failed;

			sscanf(rest, " %63s %x%n", name, &conditions_count, &read);
			rest += read;
			for (int i = 0; i < conditions_count; i++) {
				conditions[i].arg = strtoul(rest, &rest, 16);
				conditions[i].op = strtoul(rest, &rest, 16);
				conditions[i].datum_a = strtoull(rest, &rest, 16);
				conditions[i].datum_b = strtoull(rest, &rest, 16);
			}
			number = seccomp_syscall_resolve_name(name);
			if (number == __NR_SCMP_ERROR)
				continue;
			for (int i = 0; i < count; i++) {
				int there = seccomp_syscall_resolve_name_arch(arches[i], name);
				if (there > highest[i])
					highest[i] = there;
			}
			/* Says nothing new: only the name counts. */
			if (first == 0xffffffff)
				continue;
			/* As a tree, as runc has it for long profiles; as a list (version 2.5.4) the number of the
			 * call is not loaded where the first call of an architecture is not there. */
			if (++rules == 1)
				seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
			failed = seccomp_rule_add_array(ctx, first, number, conditions_count, conditions);
			if (failed && !status)
				status = failed;
		} else if (!strncmp(line, "number ", 7)) {
			int32_t number;
			sscanf(rest, " %63s", name);
			number = seccomp_syscall_resolve_name_arch(first, name);
			put(&number, 4);
			fflush(stdout);
		} else {
			answer(ctx, status, highest);
			seccomp_release(ctx);
			ctx = NULL;
		}
	}
	return 0;
}
