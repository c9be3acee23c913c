/* A stack that overflows in native code, where no interpreter counts how deep it is. */

volatile char *deepest;

int overflow(void) {
    char room[4096];
    room[0] = 1;
    deepest = room;
    return overflow() + room[0];
}
