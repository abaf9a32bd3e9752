/**
 * The native functions that Weft calls, in one table for every runtime.
 *
 * Owns their names and C declarations, nothing else. A type is `handle` (a pointer that is only passed on), `buffer` (memory of ours,
 * lent for the call), `i32`, `usize` or `void`. There is no callback: libnl never calls back into JavaScript.
 * Source: libnl 3 (`netlink/netlink.h`, `netlink/socket.h`), glibc.
 *
 * @module
 */

/** A type that both runtimes know under some name. */
export type NativeType = "handle" | "buffer" | "i32" | "usize" | "void";

/** The declaration of one function. */
export interface NativeFunction {
  readonly parameters: readonly NativeType[];
  readonly result: NativeType;
}

const fn = <const P extends readonly NativeType[], const R extends NativeType>(result: R, ...parameters: P) => ({
  parameters,
  result,
});

/** The shared object of libnl, by the name under which a distribution installs it. */
export const LIBNL = "libnl-3.so.200";

/** Functions of libnl. */
export const LIBNL_SYMBOLS = {
  /** `struct nl_sock *nl_socket_alloc(void)` */
  nl_socket_alloc: fn("handle"),
  /** `void nl_socket_free(struct nl_sock *sk)`; closes the socket too */
  nl_socket_free: fn("void", "handle"),
  /** `int nl_connect(struct nl_sock *sk, int protocol)` */
  nl_connect: fn("i32", "handle", "i32"),
  /** `int nl_socket_get_fd(const struct nl_sock *sk)` */
  nl_socket_get_fd: fn("i32", "handle"),
  /** `uint32_t nl_socket_get_local_port(const struct nl_sock *sk)` */
  nl_socket_get_local_port: fn("i32", "handle"),
  /** `int nl_socket_add_membership(struct nl_sock *sk, int group)` */
  nl_socket_add_membership: fn("i32", "handle", "i32"),
  /** `int nl_socket_set_nonblocking(const struct nl_sock *sk)` */
  nl_socket_set_nonblocking: fn("i32", "handle"),
  /** `int nl_socket_set_buffer_size(struct nl_sock *sk, int rxbuf, int txbuf)` */
  nl_socket_set_buffer_size: fn("i32", "handle", "i32", "i32"),
  /** `int nl_sendto(struct nl_sock *sk, void *buf, size_t size)` */
  nl_sendto: fn("i32", "handle", "buffer", "usize"),
  /** `const char *nl_geterror(int error)` */
  nl_geterror: fn("handle", "i32"),
} as const satisfies Record<string, NativeFunction>;

/** The shared object of the C library. */
export const LIBC = "libc.so.6";

/** Functions of the C library; none of them needs `errno`, which may be overwritten before JavaScript reads it. */
export const LIBC_SYMBOLS = {
  /** `int setsockopt(int fd, int level, int name, const void *value, socklen_t length)` */
  setsockopt: fn("i32", "i32", "i32", "i32", "buffer", "i32"),
  /** `int getsockopt(int fd, int level, int name, void *value, socklen_t *length)` */
  getsockopt: fn("i32", "i32", "i32", "i32", "buffer", "buffer"),
  /** `int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout)` */
  recvmmsg: fn("i32", "i32", "buffer", "i32", "i32", "buffer"),
  /** `int poll(struct pollfd *fds, nfds_t count, int milliseconds)` */
  poll: fn("i32", "buffer", "usize", "i32"),
  /**
   * `int fcntl(int fd, int command, int argument)`. Variadic in C; with one int argument the calling conventions of x86-64 and of
   * arm64 Linux pass it like a named one.
   */
  fcntl: fn("i32", "i32", "i32", "i32"),
  /** `int eventfd(unsigned int initial, int flags)` */
  eventfd: fn("i32", "i32", "i32"),
  /** `ssize_t write(int fd, const void *bytes, size_t count)` */
  write: fn("i32", "i32", "buffer", "usize"),
  /** `ssize_t read(int fd, void *bytes, size_t count)` */
  read: fn("i32", "i32", "buffer", "usize"),
  /** `int inotify_init1(int flags)` */
  inotify_init1: fn("i32", "i32"),
  /** `int inotify_add_watch(int fd, const char *path, uint32_t mask)` */
  inotify_add_watch: fn("i32", "i32", "buffer", "i32"),
  /** `int inotify_rm_watch(int fd, int watch)` */
  inotify_rm_watch: fn("i32", "i32", "i32"),
  /** `int close(int fd)` */
  close: fn("i32", "i32"),
  /** `int socket(int domain, int type, int protocol)` */
  socket: fn("i32", "i32", "i32", "i32"),
  /** `ssize_t sendto(int fd, const void *bytes, size_t count, int flags, const struct sockaddr *to, socklen_t length)` */
  sendto: fn("i32", "i32", "buffer", "usize", "i32", "buffer", "i32"),
  /** `int memfd_create(const char *name, unsigned int flags)` */
  memfd_create: fn("i32", "buffer", "i32"),
} as const satisfies Record<string, NativeFunction>;

/** A pointer as its runtime represents it; opaque to everyone else. */
export type Handle = { readonly __handle: never };

interface TypeOf {
  handle: Handle | null;
  buffer: Uint8Array | BigUint64Array | null;
  i32: number;
  usize: number;
  void: undefined;
}

type Arguments<P extends readonly NativeType[]> = { -readonly [I in keyof P]: TypeOf[P[I]] };

/** The callable functions of a table. */
export type Calls<T extends Record<string, NativeFunction>> = {
  readonly [K in keyof T]: (...parameters: Arguments<T[K]["parameters"]>) => TypeOf[T[K]["result"]];
};
