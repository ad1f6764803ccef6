package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"hookledger/ledger"
	"hookledger/projections/subscriptions"
	spec "hookledger/schemas/api"
)

func runKeys(ctx context.Context, args []string, std stdio) (err error) {
	if len(args) == 0 || args[0] != "create" {
		fmt.Fprint(std.err, "Usage: hookledger keys create --account ACCOUNT [--scopes admin] [--quiet] [flags]\n")
		return errUsage
	}
	var cfg config
	f := flag.NewFlagSet("keys create", flag.ContinueOnError)
	cfg.placeFlags(f)
	account := f.String("account", "", "`account` that the key belongs to")
	name := f.String("name", "made on the command line", "`name` of the key")
	days := f.Int("expires-in-days", 0, "`days` until it expires; 0 is never")
	quiet := f.Bool("quiet", false, "print the key and nothing else")
	scopes := []string{string(spec.ScopeRead)}
	f.Var(list{&scopes, []string{string(spec.ScopeSearch), string(spec.ScopeRead), string(spec.ScopeWrite), string(spec.ScopeAdmin)}},
		"scopes", "what it may do: search, read, write or admin")
	if err := cfg.parse(f, args[1:], std); err != nil {
		return err
	}
	switch {
	case *account == "":
		return errors.New("--account: say which account the key belongs to")
	case *days < 0 || *days > 365:
		return fmt.Errorf("--expires-in-days: %d is not between 1 and 365, or 0 for never", *days)
	case len(scopes) == 0:
		return errors.New("--scopes: name at least one")
	}
	log := slog.New(slog.DiscardHandler)
	at, err := openPlace(&cfg, log, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	if err := at.startBroker(ctx, nil, nil); err != nil {
		return err
	}
	journal, err := at.openLog(ctx, nil)
	if err != nil {
		return err
	}
	defer journal.Close()
	if err := prepareTopics(ctx, journal, time.Now()); err != nil {
		return err
	}
	fresh, err := isEmpty(ctx, journal, ledger.Config)
	if err != nil {
		return err
	}
	keys, err := at.secrets(fresh)
	if err != nil {
		return err
	}
	config := subscriptions.NewNode(journal, subscriptions.Options{Logger: log})
	folding, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- config.Run(folding) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
	}()
	if err := caughtUp(ctx, config); err != nil {
		return err
	}
	expires := int64(0)
	if *days > 0 {
		expires = time.Now().Add(time.Duration(*days) * 24 * time.Hour).UnixMilli()
	}
	value, err := makeKey(ctx, config, keys, *account, *name, scopes, expires)
	if err != nil {
		return err
	}
	if *quiet {
		_, err = fmt.Fprintln(std.out, value.Reveal())
		return err
	}
	_, err = fmt.Fprintf(std.out, "API key of account %q with scopes %s, shown once:\n%s\n", *account, strings.Join(scopes, ", "), value.Reveal())
	return err
}

// caughtUp waits until the fold of config is current; reading a long one from
// its beginning takes more than one barrier's second.
func caughtUp(ctx context.Context, config *subscriptions.Subscriptions) error {
	for {
		err := config.Barrier(ctx)
		if err == nil || !errors.Is(err, subscriptions.ErrNotCurrent) || ctx.Err() != nil {
			return err
		}
	}
}
