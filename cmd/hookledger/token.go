package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"hookledger/ledger/secrets"
	spec "hookledger/schemas/api"
)

func runToken(_ context.Context, args []string, std stdio) error {
	var cfg config
	f := flag.NewFlagSet("token", flag.ContinueOnError)
	cfg.placeFlags(f)
	account := f.String("account", "", "`account` that the token speaks for")
	subject := f.String("subject", "local operator", "`name` of who uses it, for the audit trail")
	life := f.Duration("life", 15*time.Minute, "how long it is good")
	scopes := []string{string(spec.ScopeAdmin)}
	f.Var(list{&scopes, []string{string(spec.ScopeSearch), string(spec.ScopeRead), string(spec.ScopeWrite), string(spec.ScopeAdmin)}},
		"scopes", "what it may do: search, read, write or admin")
	if err := cfg.parse(f, args, std); err != nil {
		return err
	}
	if *account == "" {
		return errors.New("--account: say which account the token speaks for")
	}
	at := &place{cfg: &cfg, log: slog.New(slog.DiscardHandler)}
	keys, err := at.secrets(false)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no key set in %s yet: start `hookledger serve` there once", at.keysPath())
	}
	if err != nil {
		return err
	}
	token, err := keys.SignToken(secrets.Claims{Subject: *subject, Account: *account, Scopes: scopes}, time.Now(), *life)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.out, token.Reveal())
	return err
}
