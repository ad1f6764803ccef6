// Package subscriptions is what `config` means: the webhooks and API keys of
// every account, in memory on every node.
//
// # The fold
//
// [Fold] is a pure function of the record sequence of each partition: the same
// records give the same verdicts and the same state on every node, at any
// speed, in any interleaving of partitions. A command is a fact with the
// version it expects; the verdict is what [Fold.Apply] says when the fact
// comes back from the log (append, then judge). No clock is asked: what expires
// in the fold expires by record time, the running maximum of the records' own
// timestamps in their partition.
//
//	Applied     it is so now
//	Repeat      its idempotency key was used by the same request before; First is
//	            the offset of the fact that answers it again (for a call: of its CallAnswered)
//	Mismatch    its idempotency key was used by another request
//	InProgress  its idempotency key is claimed by a call that is not answered yet
//	Conflict    the version moved on, or the change is void; Version and Webhook are the current ones
//	NotFound    the webhook, key or call is not there, or belongs to another account
//	Limit       the account has as many as it may
//	Invalid     the fact contradicts itself: a fault of the program that wrote it
//
// Idempotency keys live for [KeyLife] of record time, and are dropped when the
// webhook (or API key) that they belong to is deleted: the same create key and
// body then creates anew. A rejected fact takes no key. An unanswered
// CallStarted claims its key for [ClaimLife]. Facts that delete, disable or
// answer take no key.
//
// A record that can't be decoded, one whose rules are newer than [Rules], and
// one whose kind of change is unknown are errors and never skipped: the node is
// not ready rather than guessing. What decodes but contradicts itself is
// Invalid instead, the same on every node, so that one faulty writer can't stop
// all nodes for ever.
//
// # Reading
//
// A [*Webhook] and an [*APIKey] never change once handed out; a change makes a
// new one. All reads share one RWMutex, held for the length of a map lookup.
//
//	Match       router: the webhooks that an event goes to, in order of id; active, paused and disabled alike
//	Webhook     dispatcher, API: by account and id; Webhook.SecretsAt is what signs at a time
//	Tombstone   a deleted webhook: its deliveries stay readable, dispatchers cancel
//	Webhooks    API list, newest first
//	KeyByHash   API: whom a key belongs to. The fold does not judge expires_ms: expiry is a
//	            matter of the request's clock, so the API asks [APIKey.Usable] with its now.
//
// # On a node
//
// [Subscriptions] follows `config` (Run), acts only on what is synced, and
// offers Command (append, wait for the verdict), Barrier (rule 2), WaitApplied,
// Metadata and Fact (older facts re-read from the log), and Changes (which
// webhooks changed, coalesced).
//
// # It never
//
// sees a signing secret in the clear, calls an event matched that was not, or
// changes an answer because of a snapshot.
//
// # Decisions
//
// Limits travel in the facts, because a limit from a node's configuration would
// make nodes differ. A webhook is stored by pointer to an immutable value rather
// than copied on each change of the whole state: commands are rare, and 10,000
// matches a second take the read lock for less than a microsecond each.
// Lists are ordered by the offset of the creating fact, not by created_at: it is
// total, and no clock can shuffle it. Two secrets or more may sign at once: a
// rotation with an overlap keeps what an earlier overlap promised (at most
// [MaxFormer] former ones), a rotation without one drops all former secrets at
// once, because that is what one does after a leak.
package subscriptions
