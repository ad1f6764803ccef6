// Package secrets holds the keys of an installation and everything that is
// done with them: sealing signing secrets, making API keys, signing the local
// tokens and the cursors of lists.
//
// The key set is one JSON file of mode 0600, `keys/secrets.json` in the data
// folder, or the same text from the environment. It has three rings of named
// keys, each with one current:
//
//	sealing   32 bytes, XChaCha20-Poly1305: what webhooks sign with, as it lies in the log
//	api_keys  32 bytes, HMAC-SHA256: an API key is sk_ and base32hex(HMAC(master, key id))
//	tokens    32 bytes, HMAC-SHA256: the local JWTs, and the tags of lists' cursors
//
// Promises:
//   - What was made with an older key of a ring is opened as long as the ring has it.
//   - A sealed secret opens only for the webhook that it was sealed for.
//   - A file is made whole and durable, or not at all, and an existing one is
//     never overwritten by making; a truncated, changed or unreadable one is an
//     error that leaves it as it is. The file carries a checksum, because a
//     flipped bit in a key would otherwise show only when secrets don't open.
//   - A file that others may read, or that belongs to another user, is refused.
//   - No type here prints what it hides, by whatever verb, logger or encoder:
//     Reveal is the only way out.
//
// It never writes a key anywhere but into that file, and never makes a key set
// where one is expected: Load fails if there is none, Create fails if there is one.
// A new set beside an old log could open nothing of it; so whoever starts a node on a log
// that has webhooks calls Load.
//
// Decisions. API keys are derived rather than drawn, so that a repeated create
// or rotate can answer the same key again while the log holds only its hash.
// The hash is a plain SHA-256: the key has 256 bits, so there is nothing to guess that a slow
// hash would protect. Local tokens are HS256 rather than EdDSA: who verifies
// them holds the file that signs them. Random nonces of 24 bytes need no counter, which is
// why XChaCha20 rather than AES-GCM. A file rather than the system's key store, because it must
// work the same in a container; an external key service can fill the environment.
package secrets
