package api

import (
	"hookledger/ledger/ids"
	"hookledger/ledger/secrets"
	"hookledger/schemas/api/apierr"
	facts "hookledger/schemas/proto/hookledger/facts/v1"
)

// newSecret draws a signing secret and seals it for a webhook.
func (s *server) newSecret(webhook ids.ID) (secrets.SigningSecret, *facts.Sealed, error) {
	secret, err := secrets.NewSigningSecret(s.Random)
	if err != nil {
		return secret, nil, apierr.Internal(err)
	}
	sealed, err := s.Secrets.Seal(s.Random, webhook, secret)
	if err != nil {
		return secret, nil, apierr.Internal(err)
	}
	return secret, sealed, nil
}

// openSecret decrypts the secret of a webhook.
func (s *server) openSecret(sealed *facts.Sealed, webhook ids.ID) (secrets.SigningSecret, error) {
	secret, err := s.Secrets.Open(webhook, sealed.GetKeyId(), sealed.GetBox())
	if err != nil {
		return secret, apierr.Internal(err)
	}
	return secret, nil
}
