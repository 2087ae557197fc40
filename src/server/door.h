/* What is served at a listening address. */
#ifndef BM_SERVER_DOOR_H
#define BM_SERVER_DOOR_H

enum bm_door {
    BM_DOOR_ALL,     /* TLS: devices, and the Admin API as soon as there is a token */
    BM_DOOR_DEVICES, /* TLS: devices only, since the API has a door of its own */
    BM_DOOR_API,     /* TLS: the Admin API only */
    BM_DOOR_PLAIN,   /* without TLS: what is public */
    BM_DOOR_COAP,    /* DTLS: datagrams, EST over CoAP */
};

#endif
