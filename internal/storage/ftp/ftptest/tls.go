package ftptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	goftp "goftp.io/server/v2"
	"goftp.io/server/v2/driver/file"

	"github.com/d6t/d6tpipe-go/internal/freeport"
)

// A Certificate is that of a server on loopback, with the authority that signed
// it. Both are made for one test.
type Certificate struct {
	CA          []byte // PEM
	Cert, Key   []byte // PEM
	Fingerprint string // "SHA256:<base64>"
}

// NewCertificate makes a certificate for name, which may be an address.
func NewCertificate(t testing.TB, name string) Certificate {
	t.Helper()
	caKey, caCert := sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	key, cert := sign(t, template, caCert, caKey)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal("ftptest:", err)
	}
	sum := sha256.Sum256(cert.Raw)
	return Certificate{
		CA:          pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caCert.Raw}),
		Cert:        pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		Fingerprint: "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:]),
	}
}

// sign makes a key and its certificate; one without a parent signs itself.
func sign(t testing.TB, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal("ftptest:", err)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal("ftptest:", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal("ftptest:", err)
	}
	return key, cert
}

// Files writes the certificate and its key where vsftpd can read them, as lines of
// its configuration.
func (c Certificate) Files(t testing.TB) []string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string][]byte{"cert.pem": c.Cert, "key.pem": c.Key} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal("ftptest:", err)
		}
	}
	return []string{
		"ssl_enable=YES", "allow_anon_ssl=YES", "force_anon_logins_ssl=YES", "force_anon_data_ssl=YES", "require_ssl_reuse=YES", "ssl_ciphers=HIGH",
		"rsa_cert_file=" + filepath.Join(dir, "cert.pem"), "rsa_private_key_file=" + filepath.Join(dir, "key.pem"),
	}
}

// The user of the server within the process.
const (
	User     = "someone"
	Password = "a password, secret"
)

// FTPS starts a server within the process that speaks TLS (AUTH TLS), with a folder
// of the test behind it. It has MLSD, and no command that sets a file's time. It
// cannot do implicit TLS: then it refuses PROT P and sends data in the clear; vsftpd
// can.
func FTPS(t testing.TB, c Certificate) *Server {
	t.Helper()
	pair, err := tls.X509KeyPair(c.Cert, c.Key)
	if err != nil {
		t.Fatal("ftptest:", err)
	}
	s := &Server{Dir: t.TempDir()}
	for range 3 { // as in VSFTPD
		if s.serve(t, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}) {
			return s
		}
	}
	t.Fatal("ftptest: the FTPS server does not start")
	return nil
}

func (s *Server) serve(t testing.TB, config *tls.Config) bool {
	t.Helper()
	s.Addr = freeport.Loopback(t)
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal("ftptest:", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal("ftptest:", err)
	}
	files, err := file.NewDriver(s.Dir)
	if err != nil {
		t.Fatal("ftptest:", err)
	}
	server, err := goftp.NewServer(&goftp.Options{
		Driver: &driver{files, s.Dir}, Auth: &goftp.SimpleAuth{Name: User, Password: Password}, Perm: goftp.NewSimplePerm("someone", "some"),
		Logger: &goftp.DiscardLogger{}, TLS: true, TLSConfig: config, ExplicitFTPS: true, Hostname: host, Port: number,
	})
	if err != nil {
		t.Fatal("ftptest:", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.ListenAndServe() // until it is shut down
	}()
	t.Cleanup(func() {
		_ = server.Shutdown() // it may have ended
		<-ended
	})
	return answers(t, s.Addr, ended)
}

// driver is the server's own driver for files, with what it gets wrong put right:
// it removes folders with all that is in them, takes REST for a wish to append,
// stumbles over files that vanish while it lists, and says local time.
type driver struct {
	goftp.Driver
	dir string
}

func (d *driver) path(name string) string { return filepath.Join(d.dir, filepath.FromSlash(name)) }

// Stat implements goftp.Driver.
func (d *driver) Stat(ctx *goftp.Context, name string) (os.FileInfo, error) {
	info, err := d.Driver.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	return utc{info}, nil
}

// ListDir implements goftp.Driver.
func (d *driver) ListDir(_ *goftp.Context, name string, yield func(os.FileInfo) error) error {
	entries, err := os.ReadDir(d.path(name))
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = yield(utc{info})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// DeleteDir implements goftp.Driver.
func (d *driver) DeleteDir(_ *goftp.Context, name string) error { return os.Remove(d.path(name)) }

// PutFile implements goftp.Driver.
func (d *driver) PutFile(ctx *goftp.Context, name string, r io.Reader, off int64) (int64, error) {
	if off <= 0 {
		return d.Driver.PutFile(ctx, name, r, -1)
	}
	f, err := os.OpenFile(d.path(name), os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.NewOffsetWriter(f, off), r)
	return n, errors.Join(err, f.Close())
}

// utc is a file whose time is in UTC, as MLSD must have it.
type utc struct{ os.FileInfo }

// ModTime implements fs.FileInfo.
func (u utc) ModTime() time.Time { return u.FileInfo.ModTime().UTC() }
