#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: check-purity.sh ARCHIVE...
# A core gets bytes, events and the time as arguments and gives values back. It cannot do I/O, ask a clock, sleep, start a thread or reach a library that
# does: what it does not call, its archive does not list as undefined.
set -eu
export LC_ALL=C

# Glibc names come plain, fortified (__read_chk) and for large files (open64).
libc='socket|socketpair|connect|accept4?|bind|listen|shutdown|send|sendto|sendmsg|sendmmsg|recv|recvfrom|recvmsg|recvmmsg|[gs]etsockopt'
libc="$libc|read|pread|readv|write|pwrite|writev|open|openat|creat|close|fopen|fdopen|freopen|fread|fwrite|fclose|fputs|puts|putchar|v?f?printf|v?dprintf|perror"
libc="$libc|pipe2?|dup[23]?|fcntl|ioctl|mmap|f?stat|lstat|unlink|rename|mkdir|rmdir|opendir|readdir|fsync|f?truncate|lseek"
libc="$libc|p?poll|p?select|epoll_.*|eventfd|timerfd_.*|signalfd|inotify_.*"
libc="$libc|clock_gettime|clock_nanosleep|gettimeofday|time|times|localtime(_r)?|sleep|usleep|nanosleep|alarm|setitimer|timer_.*"
libc="$libc|rand|random|getrandom|getentropy|fork|vfork|exec.*|posix_spawn.*|system|popen|kill|signal|sigaction|getenv|syslog|getaddrinfo|gethostby.*"
glib='g_get_monotonic_time|g_get_real_time|g_get_current_time|g_date_time_new_now.*|g_timeout.*|g_idle.*|g_usleep|g_timer_.*|g_source_.*|g_main_.*|g_unix_.*'
glib="$glib|g_socket.*|g_io_.*|g_file_.*|g_open|g_fopen|g_spawn.*|g_subprocess.*|g_thread.*|g_mutex.*|g_cond_.*|g_random.*|g_getenv|g_uuid_string_random"
glib="$glib|g_log|g_log_.*|g_print|g_printerr|g_message|g_warning|g_dir_.*|g_mkdir.*|g_unlink|g_remove|g_rename"
others='pthread_.*|thrd_.*|vir[A-Z].*|gnutls_.*|nbd_.*|sd_.*|curl_.*|json_object_(from|to)_f(d|ile).*'
# g_assert() and g_error() end the process through these; they are the bug channel, not I/O.
allowed='g_assertion_message(_.*)?|g_log_structured_standard|g_return_if_fail_warning'

banned="^(__)?($libc)(64)?(_chk|_2)?(@.*)?\$|^($glib|$others)\$"
# What one core defines another may use, whatever its name: the one that defines it is checked itself.
own=$(mktemp)
trap 'rm -f "$own"' EXIT
bad=0 seen=0
for archive; do
	[ ! -e "$archive" ] || nm --defined-only --format=posix "$archive" | awk 'NF > 1 { print $1 }'
done | sort -u >"$own"
for archive; do
	[ -e "$archive" ] || continue
	seen=$((seen + 1))
	found=$(nm -u --format=posix "$archive" | awk 'NF > 1 { print $1 }' | sort -u | comm -23 - "$own" | grep -E "$banned" | grep -vE "^($allowed)\$" || true)
	if [ -n "$found" ]; then
		echo "$archive is not pure:" $found
		bad=1
	fi
done
echo "$seen archives checked"
exit $bad
