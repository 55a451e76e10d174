package conform

import "strings"

// HostileKeys returns names that a remote may hold and nobody may use: each would
// leave the folder, hit a device, hide what it is, or be lost on some system. The
// first are from advisories about other tools.
func HostileKeys() []string {
	keys := []string{
		// up and out
		"..", "../", "../evil", "../../evil", "../../../../../../../../../../tmp/d6tpipe-evil", "a/..", "a/../..",
		"a/../../evil", "a/b/../../../evil", "./../evil", "..//evil", "a/./../../evil", "../.ssh/authorized_keys",
		".", "./", "./evil", "a/.", "a/./b", "a/././b", "...", "....", ".../evil", "a/.../b", "../evil/", "/..", "/../evil",
		// absolute
		"/", "//", "///", "/evil", "/etc/passwd", "/tmp/d6tpipe-evil", "//evil", "//host/share/evil", "/./evil", "~/../../evil",
		// empty
		"", "a//b", "a///b", "a/", "a/b/", "a//", " ", "  ", "a/ /b", "a/ ",
		// drives and Windows' other roots
		"C:", "C:/evil", "c:evil", "Z:/evil", "a/C:/evil", "a/c:evil", "C:/../evil", "//?/C:/evil", "//./C:/evil", "/??/C:/evil", "C:evil.txt",
		// backslashes
		`\`, `\evil`, `..\evil`, `..\..\evil`, `a\b`, `a\..\..\evil`, `C:\evil`, `\\host\share\evil`, `\\?\C:\evil`, `\??\C:\evil`,
		`a/..\..\evil`, `..\/evil`, `a/\evil`, `.\evil`,
		// devices
		"CON", "con", "PRN", "AUX", "NUL", "nul", "COM1", "COM9", "COM0", "LPT1", "lpt9", "COM¹", "com²", "LPT³", "CONIN$", "CONOUT$",
		"CON.txt", "nul.tar.gz", "aux.", "AUX .txt", "a/NUL", "a/nul.csv", "com1.csv/b", "COM¹.txt", "NUL:", "nul:stream", "LPT1 .csv",
		// what Windows drops
		"evil.", "evil ", "evil. ", "evil .", "a./b", "a /b", "evil...", "a/evil.",
		// control characters
		"\x00", "a\x00b", "evil\x00.csv", "a\nb", "a\rb", "a\r\nDELE b", "a\tb", "\x1b[2J", "a\x07b", "a\x7fb", "a\u0080b", "a\u009bb",
		"a\u2028b", "a\u2029b", "a\u0085b", "\x01", "\n",
		// text that turns round, and text that cannot be seen
		"a\u202egpj.exe", "\u202a", "a\u202bb", "a\u202cb", "a\u202db", "a\u2066b", "a\u2067b", "a\u2068b", "a\u2069b", "a\u200eb", "a\u200fb", "a\u061cb",
		"a\u200bb", "\ufeffa", "a\ufeffb", "a\u2060b", "a\u2063b", "a\u206ab", "a\u180eb", "a\ufff9b",
		// not UTF-8
		"\xff", "a\xffb", "\xc0\xaf", "..\xc0\xafevil", "\xe0\x80\xaf", "a\xed\xa0\x80b", "\xf8\x88\x80\x80\x80", "caf\xe9.csv",
		"caf\ufffd.csv", "\ufffd",
		// too long
		strings.Repeat("a", 256), strings.Repeat("é", 128), "a/" + strings.Repeat("b", 300), strings.Repeat("a/", 512) + "b", strings.Repeat("abc/", 300) + "d",
		// our own
		".d6tpipe", ".d6tpipe-tmp-1-2", ".d6tpipe/manifest.json", "a/.d6tpipe-lock-x", ".D6TPIPE", ".D6tPipe-tmp-1-2", "a/.d6tpipe-anything/b",
		".\u200cd6tpipe", ".d6t\u200dpipe-tmp-1-2", "\u200c.d6tpipe",
	}
	return keys
}

// StrangeKeys returns names that look odd and are good: every driver must carry
// them unchanged.
func StrangeKeys() []string {
	return []string{
		"a b.csv", " leading.csv", "a  b", "a+b", "a%20b", "100%", "%2e%2e", "%2F", "%", "a&b=c", "q?x=1", "#hash", "semi;colon", "comma,",
		"'single'", `"double"`, "<tag>", "pipe|pipe", "star*", "[set]", "{a,b}", "~home", "$HOME", "`cmd`", "!bang", "@at", "^caret", "=eq",
		".hidden", "..dots", "a..b", "-dash", "--rf", "_", "0", "T12:00:00.csv", "ABC:1", "con1.txt", "console.csv", "COM10", "LPT", "nullable.csv", "aux-data.csv",
		"grüße.csv", "データ.csv", "数据/表.csv", "данные.csv", "بيانات.csv", "नमस्ते.csv", "می\u200cخواهم.csv", "👩\u200d🔬.csv", "𝒳.csv", "e\u0301.csv", "ﬁ.csv",
		"a\u00a0b", "dir with space/file name.csv", "deep/er/and/deep/er/still/file.csv", "README.md", "x.D6TPIPE", "d6tpipe.csv", strings.Repeat("n", 255),
	}
}
