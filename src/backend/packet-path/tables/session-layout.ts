/** Where what lies in the memory of sessions: native/src/sessions.h says what it means, and a test compares. */
export const HEADER_MTU = 0;
export const HEADER_REJECT_AFTER_MS = 1;
export const HEADER_MAC_KEY = 2;
export const HEADER_MAIL_TAIL = 10;
export const HEADER_MAIL_HEAD = 11;
export const HEADER_ATTENTION_TAIL = 12;
export const HEADER_ATTENTION_HEAD = 13;
export const HEADER_REQUEST_TAIL = 14;
export const HEADER_REQUEST_HEAD = 15;
export const HEADER_BELL = 16;
export const HEADER_TALLY = 32;
export const HEADER_INTS = 64;

export const TALLY_NEWS = 0;
export const TALLY_NO_SESSION = 1;
export const TALLY_BAD_TAG = 2;
export const TALLY_REPLAY = 3;
export const TALLY_BAD_MAC = 4;
export const TALLY_MAILBOX_FULL = 5;
export const TALLY_MALFORMED = 6;
export const TALLY_TRUNCATED = 7;
export const TALLY_SEGMENTS = 8;
export const TALLY_KEEPALIVES_IN = 9;
export const TALLY_HANDSHAKES_IN = 10;
export const TALLY_STAGED_DROPPED = 11;
export const TALLY_KEEPALIVES_OUT = 12;
export const TALLY_STAGED_SENT = 13;
export const TALLY_STAGED_BYTES = 14;
export const TALLY_STAGED_FAILED = 15;

export const LINE_CURRENT = 0;
export const LINE_ATTENTION = 1;
export const LINE_ADDRESS = 2;
export const LINE_PORT = 3;
export const LINE_REQUESTS = 4;
export const LINE_SENT = 5;
export const LINE_RECEIVED = 6;
export const LINE_UNANSWERED_SINCE = 7;
export const LINE_OWED_SINCE = 8;
export const LINE_HEAD_INTS = 16;
export const LINE_INTS = 128;
export const LINE_SLOTS = 4;

export const SLOT_INDEX = 0;
export const SLOT_STATE = 1;
export const SLOT_REMOTE_INDEX = 2;
export const SLOT_BORN_AT = 3;
export const SLOT_SEND_COUNTER = 4;
export const SLOT_RECEIVED = 6;
export const SLOT_IS_CONFIRMED = 8;
export const SLOT_SEND_KEY = 12;
export const SLOT_RECEIVE_KEY = 20;
export const SLOT_INTS = 28;

export const SLOT_EMPTY = 0;
export const SLOT_RESERVED = 1;
export const SLOT_INSTALLED = 2;

export const INDEX_SLOT_BITS = 2;
export const INDEX_LINE_BITS = 16;
export const MAX_LINES = 65536;

export const ATTENTION_WANTS_SESSION = 1;
export const ATTENTION_CONFIRMED = 2;
export const REQUEST_SEND_STAGED = 1;
export const REQUEST_KEEPALIVE = 2;
export const REQUEST_DROP_STAGED = 4;

export const WINDOW_INTS = 256;

export const MAIL_LENGTH = 0;
export const MAIL_ADDRESS = 1;
export const MAIL_PORT = 2;
export const MAIL_BYTES = 3;
export const MAIL_INTS = 40;
export const MAILBOX_SIZE = 64;

export const OPENED_OFFSET = 0;
export const OPENED_LENGTH = 1;
export const OPENED_PEER = 2;
export const OPENED_INTS = 3;
