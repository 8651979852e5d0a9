/**
 * Hosts that no alert may go to: those that only the gateway's own machine or network can reach. A
 * URL's host is in its one normal form, so `0x7f.1`, `017700000001` and `2130706433` are all
 * `127.0.0.1` here. What a public name resolves to is not known here; Workers reach no private network.
 */
export function isPrivateHost(hostname: string): boolean {
  const host = hostname.replace(/\.$/, '')
  if (host.startsWith('[')) return isPrivateSixth(groupsOf(host.slice(1, -1)))
  if (/^\d+(\.\d+){3}$/.test(host)) return isPrivateFourth(host.split('.').map(Number))
  // A name without a dot, and the endings that public DNS never has.
  return !host.includes('.') || /\.(localhost|local|internal|intranet|lan|home\.arpa)$/.test(host)
}

export function isLoopbackHost(hostname: string): boolean {
  return /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname)
}

/** https://www.iana.org/assignments/iana-ipv4-special-registry */
const PRIVATE_FOURTH: readonly (readonly [number, number, number])[] = [
  [0, 0, 8],
  [10, 0, 8],
  [100, 64, 10],
  [127, 0, 8],
  [169, 254, 16],
  [172, 16, 12],
  [192, 168, 16],
  [198, 18, 15],
  // Multicast and what is reserved.
  [224, 0, 3],
]

/** Of 192.0, 198.51 and 203.0 the third part, for protocols and documents. */
const PRIVATE_THIRD: ReadonlySet<string> = new Set([
  '192.0.0',
  '192.0.2',
  '198.51.100',
  '203.0.113',
])

function isPrivateFourth([a = 0, b = 0, c = 0]: readonly number[]): boolean {
  const bits = (a << 8) | b
  return (
    PRIVATE_THIRD.has(`${a}.${b}.${c}`) ||
    PRIVATE_FOURTH.some(([first, second, length]) => {
      const mask = (0xffff << (16 - length)) & 0xffff
      return (bits & mask) === (((first << 8) | second) & mask)
    })
  )
}

/** The eight groups of an address of the sixth version. */
function groupsOf(text: string): number[] {
  const [head = '', tail] = text.split('::')
  const parse = (part: string) =>
    part === '' ? [] : part.split(':').map((group) => parseInt(group, 16))
  const before = parse(head)
  const after = parse(tail ?? '')
  return [...before, ...Array(Math.max(0, 8 - before.length - after.length)).fill(0), ...after]
}

/** https://www.iana.org/assignments/iana-ipv6-special-registry */
function isPrivateSixth(groups: readonly number[]): boolean {
  const [first = 0, second = 0, third = 0] = groups
  const embedded = (at: number) => {
    const [high = 0, low = 0] = groups.slice(at)
    return isPrivateFourth([high >> 8, high & 0xff, low >> 8, low & 0xff])
  }
  const isZero = (to: number) => groups.slice(0, to).every((group) => group === 0)
  // ::, ::1, and addresses of the fourth version: mapped (::ffff:0:0/96), compatible, translated.
  if (isZero(5)) return true
  if (isZero(4) && groups[4] === 0xffff) return true
  if (first === 0x64 && second === 0xff9b) return third === 1 || embedded(6)
  if (first === 0x2002) return embedded(1)
  // Unique local, link-local, the old site-local, multicast, documents and discard.
  const top = first >> 6
  if (first >> 9 === 0x7e || top === 0x3fa || top === 0x3fb || first >> 8 === 0xff) return true
  return (first === 0x2001 && (second === 0xdb8 || second === 0)) || first === 0x100
}
