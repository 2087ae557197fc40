/* Tells the service manager how things stand (sd_notify's datagram, systemd.exec(5) NOTIFY_SOCKET); nothing happens without one. */
#ifndef BM_SERVER_NOTIFY_H
#define BM_SERVER_NOTIFY_H

/* state: "READY=1", "STOPPING=1" ... */
void bm_notify(const char *state);

#endif
