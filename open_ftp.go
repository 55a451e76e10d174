package d6tpipe

import (
	"net"
	"strconv"

	"github.com/d6t/d6tpipe-go/internal/storage"
	"github.com/d6t/d6tpipe-go/internal/storage/ftp"
)

func openFTP(s Storage, o OpenOptions) (storage.Store, error) {
	opts, err := ftpOptions(s)
	if err != nil {
		return nil, err
	}
	opts.Dial = o.Dial
	return ftp.New(opts)
}

func ftpOptions(s Storage) (opts ftp.Options, err error) {
	set, name, err := s.host()
	if err != nil {
		return opts, err
	}
	opts = ftp.Options{
		User: s.credential("username"), Password: s.credential("password"),
		Fingerprint: set.Fingerprint, CA: []byte(set.CA), Connections: set.Connections,
	}
	opts.Root, opts.Keep = s.inRoot()
	if opts.TLS, err = tlsMode(s.Protocol, set); err != nil {
		return opts, err
	}
	if set.Port == 0 {
		set.Port = portFTP
		if opts.TLS == ftp.Implicit {
			set.Port = portImplicitFTP
		}
	}
	opts.Host = net.JoinHostPort(name, strconv.Itoa(int(set.Port)))
	return opts, nil
}

// tlsMode is what the settings say; without them ftps is explicit, except on the
// port that means the other.
func tlsMode(protocol Protocol, set hostSettings) (ftp.TLSMode, error) {
	switch {
	case set.TLS == "implicit", set.TLS == "" && protocol == ProtocolFTPS && set.Port == portImplicitFTP:
		return ftp.Implicit, nil
	case set.TLS == "explicit", set.TLS == "" && protocol == ProtocolFTPS:
		return ftp.Explicit, nil
	case set.TLS == "":
		return ftp.None, nil
	}
	return ftp.None, &FieldError{Field: "settings", Reason: "tls is explicit or implicit."}
}
