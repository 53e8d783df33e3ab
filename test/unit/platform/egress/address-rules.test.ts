import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createEgressAllowList, isAllowedAddress, parseEgressUrl } from '#platform/egress';

const nothing = createEgressAllowList([]);

describe('addresses that may be called', () => {
  it.each([
    '1.1.1.1',
    '8.8.8.8',
    '93.184.216.34',
    '223.255.255.254',
    '2606:4700::1111',
    '2a00:1450:4001::',
    '64:ff9b::8.8.8.8',
    '::ffff:1.1.1.1',
  ])('%s is public', (address) => expect(isAllowedAddress(nothing, address)).toBe(true));

  it.each([
    ...['0.0.0.0', '0.1.2.3', '10.0.0.1', '100.64.0.1', '127.0.0.1', '127.255.255.255', '169.254.169.254', '172.16.0.1', '172.31.255.255'],
    ...['192.0.0.1', '192.0.2.1', '192.88.99.1', '192.168.1.1', '198.18.0.1', '198.19.255.255', '198.51.100.1', '203.0.113.1', '224.0.0.1'],
    ...[
      '240.0.0.1',
      '255.255.255.255',
      '::',
      '::1',
      '::7f00:1',
      'fc00::1',
      'fd12:3456::1',
      'fe80::1',
      'fe80::1%eth0',
      'fec0::1',
      'ff02::1',
    ],
    ...['::ffff:127.0.0.1', '::ffff:10.0.0.1', '::ffff:7f00:1', '64:ff9b::127.0.0.1', '64:ff9b::a00:1', '64:ff9b:1::1', '2002:7f00:1::'],
    ...['2001::1', '2001:db8::1', '3fff::1', '5f00::1', '100::1', '::ffff:0:127.0.0.1', '4000::1'],
    ...['', 'localhost', '127.1', '0x7f.0.0.1', '2130706433', '127.0.0.1 ', '1.1.1'],
  ])('%s is not', (address) => expect(isAllowedAddress(nothing, address)).toBe(false));

  it('no IPv4 address of RFC 1918, loopback or link-local is reached through a mapped or translated one', () => {
    const inside = fc.constantFrom([10], [127], [169, 254], [172, 20], [192, 168]);
    const octet = fc.integer({ min: 0, max: 255 });
    fc.assert(
      fc.property(inside, fc.tuple(octet, octet, octet), (prefix, rest) => {
        const address = [...prefix, ...rest].slice(0, 4).join('.');
        for (const form of [address, `::ffff:${address}`, `64:ff9b::${address}`]) expect(isAllowedAddress(nothing, form), form).toBe(false);
      }),
    );
  });

  it('a range that the operator allows is open, also behind a mapped address, and its neighbours are not', () => {
    const allow = createEgressAllowList([
      { kind: 'cidr', cidr: '10.1.0.0/16' },
      { kind: 'cidr', cidr: 'fd00::/8' },
    ]);
    for (const address of ['10.1.0.1', '10.1.255.255', '::ffff:10.1.2.3', 'fd00::1', 'fdff::'])
      expect(isAllowedAddress(allow, address)).toBe(true);
    for (const address of ['10.0.255.255', '10.2.0.0', 'fc00::1', '127.0.0.1']) expect(isAllowedAddress(allow, address)).toBe(false);
  });
});

describe('URLs that may be called', () => {
  const allow = createEgressAllowList([
    { kind: 'host', host: 'Receiver.local', port: 8081 },
    { kind: 'host', host: '::1', port: 9000 },
    { kind: 'cidr', cidr: '10.1.0.0/16' },
  ]);

  it.each([
    'https://example.com/hook',
    'https://1.1.1.1:8443/',
    'http://receiver.local:8081/',
    'https://RECEIVER.local:8081/x',
    'http://[::1]:9000/',
  ])('%s may', (url) => expect(parseEgressUrl(url, allow).href).toBeTruthy());
  it('plain http goes to a literal address in an allowed range', () => {
    expect(parseEgressUrl('http://10.1.2.3:8080/', allow).port).toBe('8080');
  });
  it.each([
    'http://example.com/',
    'http://1.1.1.1/',
    'http://receiver.local:8082/',
    'https://user:secret@example.com/',
    'https://127.0.0.1/',
    'https://2130706433/',
    'https://0x7f.1/',
    'https://[::ffff:127.0.0.1]/',
    'https://[::1]:9001/',
    'ftp://example.com/',
    'file:///etc/passwd',
    'not a url',
  ])('%s may not', (url) => expect(() => parseEgressUrl(url, allow)).toThrow(expect.objectContaining({ code: 'egress_refused' })));
});
