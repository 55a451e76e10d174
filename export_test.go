package d6tpipe

import "time"

// KeyringWithin is [KeyringTokens] with another limit for a call.
func KeyringWithin(limit time.Duration) TokenStore { return keyringTokens{limit} }
