package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"hookledger/deploy/embedded/datadir"
	"hookledger/ledger/ids"
	"hookledger/ledger/secrets"
	"hookledger/projections/subscriptions"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// What the local admin key is called, and whose it is.
const (
	localAccount  = "default"
	localKeyName  = "local admin"
	adminKeyFile  = "admin.key"
	adminScope    = "admin"
	readyAskEvery = 20 * time.Millisecond
	// servingPatience is how long a node that is not ready keeps to itself where it serves.
	servingPatience = 3 * time.Second
)

// greet waits until this node can do its work, tells other processes where it
// serves, and tells the operator how to begin. It then waits for the end, like
// every actor.
func greet(ctx context.Context, at *place, config *subscriptions.Subscriptions, keys *secrets.Set, ready *readiness, l net.Listener, began time.Time, std stdio) error {
	base := "http://" + l.Addr().String()
	// Others are told where it serves when it is ready, or when that takes long:
	// `repair`, `keys` and `sql` have work to do then, too.
	soon, cancel := context.WithTimeout(ctx, servingPatience)
	_ = untilReady(soon, ready) // ready or not
	cancel()
	if at.dir != nil && ctx.Err() == nil {
		where, err := at.serving(base)
		if err == nil {
			err = at.dir.WriteServing(where)
		}
		if err != nil {
			return err
		}
	}
	if err := untilReady(ctx, ready); err != nil {
		return nil //nolint:nilerr // stopped before it was ready
	}
	keyFile := ""
	if at.dir != nil && at.join == nil && at.cfg.adminKey {
		path := filepath.Join(at.dir.Keys(), adminKeyFile)
		if err := localAdminKey(ctx, config, keys, path); err != nil {
			return fmt.Errorf("make the local admin key: %w", err)
		}
		keyFile = relative(path)
	}
	fmt.Fprintf(std.out, "hookledger %s is ready after %.1f s: API on %s/api/v2, metrics on %s/metrics\n", version, time.Since(began).Seconds(), base, base)
	if keyFile != "" {
		fmt.Fprintf(std.out, "Try:  curl -H \"X-API-Key: $(cat %s)\" %s/api/v2/webhooks\n", keyFile, base)
	}
	<-ctx.Done()
	return nil
}

// relative is a path as the operator would type it.
func relative(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) {
		return rel
	}
	return path
}

func untilReady(ctx context.Context, ready *readiness) error {
	tick := time.NewTicker(readyAskEvery)
	defer tick.Stop()
	for len(ready.faults(ctx)) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return ctx.Err()
}

// serving is what serving.json says of this process.
func (p *place) serving(base string) (datadir.Serving, error) {
	s := datadir.Serving{API: base, Node: p.cfg.nodeName()}
	if p.join != nil {
		s.Joined = p.join.dir
	}
	if p.broker != nil {
		s.Broker = p.broker.Serving()
	}
	if p.engine != nil {
		s.Engine.Users = make(map[string]datadir.Secret)
		for _, user := range []string{userService, userAuditor} {
			dsn, err := url.Parse(p.engine.DSN(user))
			if err != nil {
				return s, errors.New("the engine's address can't be read") // the DSN holds a password
			}
			password, _ := dsn.User.Password()
			s.Engine.Addr, s.Engine.Users[user] = dsn.Host, datadir.Secret(password)
		}
	}
	return s, nil
}

// localAdminKey keeps an admin API key of the default account in a file, for
// the operator's own command line. The file is made from the fact again when it
// is missing, for an API key is derived from its id.
func localAdminKey(ctx context.Context, config *subscriptions.Subscriptions, keys *secrets.Set, path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	value, err := findOrMakeKey(ctx, config, keys)
	if err != nil {
		return err
	}
	return datadir.WriteFile(path, []byte(value.Reveal()+"\n"))
}

func findOrMakeKey(ctx context.Context, config *subscriptions.Subscriptions, keys *secrets.Set) (secrets.APIKeyText, error) {
	known, _ := config.APIKeys(localAccount, subscriptions.Newest, 1<<20)
	for _, k := range known {
		if k.Name == localKeyName && k.Usable(time.Now().UnixMilli()) {
			return keys.APIKey(k.MasterID, k.ID)
		}
	}
	return makeKey(ctx, config, keys, localAccount, localKeyName, []string{adminScope}, 0)
}

// makeKey appends an API key as the operator's doing.
func makeKey(ctx context.Context, config *subscriptions.Subscriptions, keys *secrets.Set, account, name string, scopes []string, expires int64) (secrets.APIKeyText, error) {
	id, err := ids.Random(rand.Reader)
	if err != nil {
		return secrets.APIKeyText{}, err
	}
	value, master := keys.NewAPIKey(id.Text(ids.Key))
	hash := value.Hash()
	verdict, err := config.Command(ctx, &facts.ConfigFact{
		Account: account, Actor: &facts.Actor{Kind: facts.ActorKind_ACTOR_KIND_OPERATOR, Id: "command line"},
		Change: &facts.ConfigFact_ApiKeyCreated{ApiKeyCreated: &facts.ApiKeyCreated{Key: &facts.ApiKey{
			KeyId: id.Text(ids.Key), KeyPrefix: value.Prefix(), Name: name, Scopes: scopes,
			CreatedMs: time.Now().UnixMilli(), ExpiresMs: expires, KeyHash: hash[:], MasterId: master,
		}}},
	})
	if err != nil {
		return secrets.APIKeyText{}, err
	}
	if verdict.Kind != subscriptions.Applied {
		return secrets.APIKeyText{}, fmt.Errorf("the key was not accepted: %s %s", verdict.Kind, verdict.Reason)
	}
	return value, nil
}
