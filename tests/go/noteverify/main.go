// Noteverify checks what Wavecomb's log publishes with the Go project's own note and tlog packages.
//
//	noteverify open NOTE VKEY...             verify a note; print its text and who signed
//	noteverify site FOLDER VKEY OLD INDEX... verify a site of tiles: root, history since OLD, records
//	noteverify proof PROOF RECORD VKEY       verify a c2sp.org/tlog-proof of a record
//	noteverify sign NAME TEXT                make a key, sign the text; print the key, then the note
package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

// cosigner verifies signatures of type 0x04 (c2sp.org/tlog-cosignature).
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }
func (c cosigner) Verify(text, sig []byte) bool {
	if len(sig) != 72 {
		return false
	}
	head := fmt.Sprintf("cosignature/v1\ntime %d\n", binary.BigEndian.Uint64(sig))
	return ed25519.Verify(c.key, append([]byte(head), text...), sig[8:])
}

func verifier(vkey string) note.Verifier {
	parts := strings.SplitN(vkey, "+", 3)
	raw := must(base64.StdEncoding.DecodeString(parts[2]))
	if raw[0] != 4 {
		return must(note.NewVerifier(vkey))
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), raw...))
	return cosigner{parts[0], binary.BigEndian.Uint32(sum[:]), raw[1:]}
}

func open(raw []byte, vkeys []string) *note.Note {
	var list []note.Verifier
	for _, vkey := range vkeys {
		list = append(list, verifier(vkey))
	}
	return must(note.Open(raw, note.VerifierList(list...)))
}

func tree(text string) tlog.Tree {
	lines := strings.Split(text, "\n")
	return tlog.Tree{N: must(strconv.ParseInt(lines[1], 10, 64)), Hash: must(tlog.ParseHash(lines[2]))}
}

// site reads tiles at the paths of c2sp.org/tlog-tiles, which leave out the height that Go's have.
type site string

func (s site) Height() int                         { return 8 }
func (s site) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (s site) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	for _, tile := range tiles {
		raw, err := os.ReadFile(filepath.Join(string(s), s.path(tile)))
		if err != nil {
			return nil, err
		}
		data = append(data, raw)
	}
	return data, nil
}

func (s site) path(tile tlog.Tile) string {
	path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
	return strings.Replace(path, "tile/data/", "tile/entries/", 1)
}

func (s site) record(index, size int64) []byte {
	tile := tlog.Tile{H: 8, L: -1, N: index / 256, W: int(min(256, size-index/256*256))}
	raw := must(os.ReadFile(filepath.Join(string(s), s.path(tile))))
	for range index % 256 {
		raw = raw[2+binary.BigEndian.Uint16(raw):]
	}
	return raw[2 : 2+binary.BigEndian.Uint16(raw)]
}

func checkSite(s site, vkey string, old int64, indexes []string) {
	head := tree(open(must(os.ReadFile(filepath.Join(string(s), "checkpoint"))), []string{vkey}).Text)
	reader := tlog.TileHashReader(head, s)
	oldRoot := must(tlog.TreeHash(old, reader))
	history := must(tlog.ProveTree(head.N, old, reader))
	must(0, tlog.CheckTree(history, head.N, head.Hash, old, oldRoot))
	fmt.Println("tree", head.N, head.Hash, "since", old, oldRoot)
	for _, text := range indexes {
		index := must(strconv.ParseInt(text, 10, 64))
		leaf := tlog.RecordHash(s.record(index, head.N))
		proof := must(tlog.ProveRecord(head.N, index, reader))
		must(0, tlog.CheckRecord(proof, head.N, head.Hash, index, leaf))
		fmt.Println("record", index, leaf)
	}
}

func checkProof(raw, record []byte, vkey string) {
	head, checkpoint, _ := strings.Cut(string(raw), "\n\n")
	lines := strings.Split(head, "\n")
	size := tree(open([]byte(checkpoint), []string{vkey}).Text)
	index := must(strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64))
	var proof tlog.RecordProof
	for _, line := range lines[2:] {
		proof = append(proof, must(tlog.ParseHash(line)))
	}
	must(0, tlog.CheckRecord(proof, size.N, size.Hash, index, tlog.RecordHash(record)))
	fmt.Println("record", index, "of", size.N)
}

func main() {
	switch args := os.Args[1:]; args[0] {
	case "open":
		opened := open(must(os.ReadFile(args[1])), args[2:])
		fmt.Print(opened.Text)
		for _, sig := range opened.Sigs {
			fmt.Println("signed by", sig.Name)
		}
	case "site":
		checkSite(site(args[1]), args[2], must(strconv.ParseInt(args[3], 10, 64)), args[4:])
	case "proof":
		checkProof(must(os.ReadFile(args[1])), must(os.ReadFile(args[2])), args[3])
	case "sign":
		skey, vkey, err := note.GenerateKey(rand.Reader, args[1])
		signer := must(note.NewSigner(must(skey, err)))
		fmt.Printf("%s\n%s", vkey, must(note.Sign(&note.Note{Text: args[2]}, signer)))
	}
}
