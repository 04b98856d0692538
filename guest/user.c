#include "user.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "decimal.h"

/* MACHINE is a folder that init creates, so it exists only inside machines. HOMES is the folder in
 * which homes are created for users that have none. TEMPORARY is the start of the temporary path of
 * such a home. */
#define MACHINE "/run/microvm"
#define HOMES "/home/"
#define TEMPORARY HOMES "."

enum { NO_REPLACE = 1 }; /* the value of RENAME_NOREPLACE in linux/fs.h */

enum { PASSWD_NAME, PASSWD_UID = 2, PASSWD_GID, PASSWD_HOME = 5, PASSWD_SHELL, FIELDS };
enum { GROUP_NAME, GROUP_GID = 2, GROUP_MEMBERS };

/* A file that is read line by line. A line that is too long is skipped. */
struct lines {
	int fd;
	size_t at, end;
	char data[4096];
};

static bool open_lines(struct lines *lines, const char *path)
{
	struct stat status;

	/* Accept only a regular file, because reading it neither blocks nor goes on for ever.
	 * Otherwise PID 1 would hang, because it waits for this process. */
	lines->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	lines->at = lines->end = 0;
	if (lines->fd >= 0 && (fstat(lines->fd, &status) < 0 || !S_ISREG(status.st_mode))) {
		close(lines->fd);
		lines->fd = -1;
	}
	return lines->fd >= 0;
}

static int next_byte(struct lines *lines)
{
	if (lines->at == lines->end) {
		ssize_t n = read(lines->fd, lines->data, sizeof lines->data);

		if (n <= 0)
			return -1;
		lines->at = 0;
		lines->end = (size_t)n;
	}
	return (unsigned char)lines->data[lines->at++];
}

static bool next_line(struct lines *lines, char line[static USER_LINE_MAX])
{
	size_t size = 0;
	int byte;

	while ((byte = next_byte(lines)) >= 0) {
		if (byte == '\n' && size < USER_LINE_MAX) {
			line[size] = 0;
			return true;
		}
		size = byte == '\n' ? 0 : size + 1;
		if (size > 0 && size < USER_LINE_MAX)
			line[size - 1] = (char)byte;
	}
	if (size > 0 && size < USER_LINE_MAX) { /* the last line, if it has no newline */
		line[size] = 0;
		return true;
	}
	close(lines->fd);
	return false;
}

/* Splits a line into `count` fields at its colons. Returns false if the line has too few colons. */
static bool split(char *line, char **fields, int count)
{
	for (int i = 0; i < count; i++) {
		fields[i] = line;
		line += strcspn(line, ":");
		if (i + 1 < count && !*line)
			return false;
		if (*line)
			*line++ = 0;
	}
	return true;
}

static bool parse_id(const char *text, uint32_t *id)
{
	uint64_t value = 0;

	*id = 0;
	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (uint64_t)(*text - '0');
		/* Refuse UINT32_MAX as a uid or gid, because system calls that set an id take this
		 * number for "no change". */
		if (value >= UINT32_MAX)
			return false;
	}
	*id = (uint32_t)value;
	return true;
}

static bool find_passwd(const char *who, struct user *user)
{
	static char line[USER_LINE_MAX];
	static struct lines lines;
	char *fields[FIELDS];
	uint32_t number;
	bool numeric = parse_id(who, &number);

	if (!open_lines(&lines, "/etc/passwd"))
		return false;
	while (next_line(&lines, line)) {
		if (!split(line, fields, FIELDS) || !parse_id(fields[PASSWD_UID], &user->uid) ||
		    !parse_id(fields[PASSWD_GID], &user->gid))
			continue;
		if (numeric ? user->uid != number : strcmp(fields[PASSWD_NAME], who) != 0)
			continue;
		user->name = fields[PASSWD_NAME];
		user->home = fields[PASSWD_HOME];
		user->shell = fields[PASSWD_SHELL];
		close(lines.fd);
		return true;
	}
	return false;
}

static bool is_member(const char *members, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = members; *at; at += strcspn(at, ","), at += *at == ',')
		if (strcspn(at, ",") == length && strncmp(at, name, length) == 0)
			return true;
	return false;
}

/* Sets the groups of the user: first its own group, then the groups of /etc/group that list it as a
 * member. */
static void find_groups(struct user *user)
{
	static char line[USER_LINE_MAX];
	static struct lines lines;
	char *fields[GROUP_MEMBERS + 1];
	gid_t gid;

	user->groups[user->group_count++] = user->gid;
	if (!open_lines(&lines, "/etc/group"))
		return;
	while (next_line(&lines, line))
		if (split(line, fields, GROUP_MEMBERS + 1) && parse_id(fields[GROUP_GID], &gid) &&
		    gid != user->gid && user->group_count < USER_GROUPS_MAX &&
		    is_member(fields[GROUP_MEMBERS], user->name))
			user->groups[user->group_count++] = gid;
}

static bool find_group(const char *name, gid_t *gid)
{
	static char line[USER_LINE_MAX];
	static struct lines lines;
	char *fields[GROUP_MEMBERS + 1];

	if (parse_id(name, gid))
		return true;
	if (!open_lines(&lines, "/etc/group"))
		return false;
	while (next_line(&lines, line))
		if (split(line, fields, GROUP_MEMBERS + 1) &&
		    strcmp(fields[GROUP_NAME], name) == 0 && parse_id(fields[GROUP_GID], gid)) {
			close(lines.fd);
			return true;
		}
	return false;
}

bool user_find(const char *text, struct user *user)
{
	static char who[USER_LINE_MAX];
	size_t length = strcspn(text, ":");

	if (length >= sizeof who)
		return false;
	memcpy(who, text, length);
	who[length] = 0;
	*user = (struct user){ 0 };
	if (!find_passwd(who, user)) {
		if (!parse_id(who, &user->uid))
			return false;
		user->gid = user->uid;
		user->name = who;
		user->home = "/";
		user->shell = "";
	}
	if (!text[length]) {
		find_groups(user);
		return true;
	}
	user->groups[user->group_count++] = user->gid;
	if (!find_group(text + length + 1, &user->gid))
		return false;
	user->groups[0] = user->gid;
	return true;
}

static bool is_folder_of(const struct stat *status, uid_t owner)
{
	return S_ISDIR(status->st_mode) && status->st_uid == owner;
}

/* Returns the path of the home that is created for a user that has none. The text is valid until
 * the next call. */
static char *home_of(uid_t uid)
{
	static char room[sizeof HOMES + DIGITS];

	return numbered(room, HOMES, uid);
}

/* Creates a home for the user, if nothing exists at the path. The folder has a temporary path until
 * it belongs to the user, because another process of the user may look for its home meanwhile.
 * Checks first that root owns it, because another user may have replaced it. */
static void make_home(const char *path, const struct user *user)
{
	char room[sizeof TEMPORARY + DIGITS];
	char *temporary = numbered(room, TEMPORARY, (uint64_t)getpid());
	struct stat status;
	int fd;

	mkdir(temporary, 0700);
	fd = open(temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	if (fstat(fd, &status) == 0 && is_folder_of(&status, 0) &&
	    fchown(fd, user->uid, user->gid) == 0)
		syscall(SYS_renameat2, AT_FDCWD, temporary, AT_FDCWD, path, NO_REPLACE);
	close(fd);
	/* Remove the folder if it still has its temporary path. It was not renamed if something
	 * exists at `path` by now. */
	rmdir(temporary);
}

void user_settle(struct user *user)
{
	struct stat status;
	char *path;

	if (stat(user->home, &status) == 0 && is_folder_of(&status, user->uid))
		return;
	/* In tests, the daemon is a process of the host, and must not make homes there. */
	if (access(MACHINE, F_OK) < 0)
		return;
	mkdir(HOMES, 0755);
	path = home_of(user->uid);
	if (lstat(path, &status) < 0)
		make_home(path, user);
	if (lstat(path, &status) == 0 && is_folder_of(&status, user->uid))
		user->home = path;
}

bool user_become(const struct user *user)
{
	/* Make the system calls directly. The functions of the C library would also change the ids
	 * of all other threads, which takes time, although this process has only one thread. */
	return syscall(SYS_setgroups, user->group_count, user->groups) == 0 &&
	       syscall(SYS_setgid, user->gid) == 0 && syscall(SYS_setuid, user->uid) == 0;
}

bool user_enter(const struct user *user, const char *cwd)
{
	return *cwd ? chdir(cwd) == 0 : chdir(user->home) == 0 || chdir("/") == 0;
}
