"""The rules of origins as a table: each row is a client and the origin it has.

tests/config/test_origin_data.py runs every row against the shipped lists; the manual page shows `MAN_ROWS`.
Names of big senders are as public mailing lists have archived them; everything else is made up.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CUSTOMERS", "MAN_ROWS", "ROWS", "Row"]

NETWORK = "network"
"""Stands for the client network, whatever it is."""


class Row(NamedTuple):
    """A client, the origin it has, and the word of `identity.origin.Naming` that says why."""

    address: str
    name: str | None
    helo: str
    origin: str
    why: str
    sender: str = ""
    """Where the envelope sender matters."""
    reverse: str = ""
    """The reverse name of a client without a verified one."""


MAN_ROWS = (
    Row("192.0.2.77", "mail.example.org", "mail.example.org", "example.org", "named"),
    Row("192.0.2.77", "out7.mx.example.co.uk", "mx.example.co.uk", "example.co.uk", "named"),
    Row("192.0.2.77", None, "mail.example.org", NETWORK, "no-name"),
    Row("192.0.2.77", "mail.example.org", "EXCH01.corp.local", NETWORK, "helo-elsewhere"),
    Row("192.0.2.77", "192-0-2-77.static.example.net", "192-0-2-77.static.example.net", NETWORK, "generated"),
    Row("192.0.2.77", "77.2.0.192.example.net", "mail.example.net", NETWORK, "generated"),
    Row(
        "192.0.2.77",
        "192-0-2-77.out.example.net",
        "192-0-2-77.out.example.net",
        "#-#-#-#.out.example.net",
        "folded",
        "news@example.net",
    ),
    Row("192.0.2.77", "pc000024d.example.net", "pc000024d.example.net", NETWORK, "generated"),
    Row("192.0.2.77", "a17.dsl.example.net", "a17.dsl.example.net", NETWORK, "generated"),
    Row("192.0.2.77", "static-77.example.net", "static-77.example.net", "example.net", "named"),
    Row("209.85.210.45", "mail-ot1-f45.google.com", "mail-ot1-f45.google.com", "google", "provider"),
    Row(
        "57.103.87.181",
        "p-east3-cluster2-host5-snip4-10.eps.apple.com",
        "outbound.qs.icloud.com",
        "apple",
        "provider",
    ),
    Row(
        "209.85.210.45",
        None,
        "mail-ot1-f45.google.com",
        "google?",
        "claimed",
        reverse="mail-ot1-f45.google.com",
    ),
    Row(
        "161.97.139.27",
        "vmd64148.contaboserver.net",
        "vmd64148.contaboserver.net",
        NETWORK,
        "shared-host",
    ),
    Row("46.105.34.113", "3.mo581.mail-out.ovh.net", "3.mo581.mail-out.ovh.net", "ovh", "provider"),
    Row("192.0.2.77", "co.uk", "co.uk", NETWORK, "no-domain"),
)
"""One row for each rule; short enough to be read."""


def _same(address: str, name: str, origin: str, why: str) -> Row:
    """A client that says its own name in HELO."""
    return Row(address, name, name, origin, why)


_V4 = "192.0.2.77"
_V6 = "2001:db8:12:34ab::5:6"

_PROVIDERS = (
    _same("40.107.132.94", "mail-eopbgr1320094.outbound.protection.outlook.com", "microsoft", "provider"),
    Row(
        "40.107.244.71",
        "mail-mw2nam12on2071.outbound.protection.outlook.com",
        "NAM12-MW2-obe.outbound.protection.outlook.com",
        "microsoft",
        "provider",
    ),
    _same("54.240.9.36", "a9-36.smtp-out.amazonses.com", "amazon-ses", "provider"),
    _same("198.2.179.112", "mail112.suw15.mcsv.net", "mailchimp", "provider"),
    _same("198.2.136.64", "mail136-64.atl31.rsgsv.net", "mailchimp", "provider"),
    _same("198.2.180.17", "mail180-17.suw31.mandrillapp.com", "mailchimp", "provider"),
    _same("167.89.16.78", "o1678916x78.outbound-mail.sendgrid.net", "sendgrid", "provider"),
    _same("192.174.84.143", "mta-174-84-143.intercom.com.sparkpostmail.com", "sparkpost", "provider"),
    _same("66.163.188.211", "sonic311-30.consmr.mail.ne1.yahoo.com", "yahoo", "provider"),
    _same("64.147.123.19", "wout3-smtp.messagingengine.com", "fastmail", "provider"),
    _same("69.72.43.7", "m43-7.mailgun.net", "mailgun", "provider"),
    _same("185.250.237.84", "o84.p38.mailjet.com", "mailjet", "provider"),
    _same("13.111.0.229", "db229.mta.exacttarget.com", "salesforce", "provider"),
    _same("205.220.168.131", "mx0a-0031df01.pphosted.com", "proofpoint", "provider"),
    _same("194.104.111.102", "de-smtp-delivery-102.mimecast.com", "mimecast", "provider"),
    _same("212.227.15.15", "mout.gmx.net", "ionos", "provider"),
    _same("212.227.17.24", "mout.kundenserver.de", "ionos", "provider"),
    _same("185.70.40.133", "mail-40133.protonmail.ch", "proton", "provider"),
    _same("2a02:6b8:c02:900:1:45:d181:d501", "forward501b.mail.yandex.net", "yandex", "provider"),
    _same("95.163.41.94", "smtp56.i.mail.ru", "mail-ru", "provider"),
    Row("17.57.155.9", "qs51p00im-qukt01071902.me.com", "outbound.qs.icloud.com", "apple", "provider"),
    Row("209.85.210.45", "mail-ot1-f45.google.com", "[192.0.2.1]", "google", "provider"),
    _same("66.220.144.147", "66-220-144-147.mail-mail.facebook.com", "facebook", "provider"),
    _same("69.171.232.143", "69-171-232-143.mail-mail.facebook.com", "facebook", "provider"),
    _same("66.220.155.178", "66-220-155-178.mail-mxout.facebook.com", "facebook", "provider"),
    _same("194.25.134.20", "mailout08.t-online.de", "t-online", "provider"),
    _same("195.4.92.90", "mout0.freenet.de", "freenet", "provider"),
    _same("212.27.42.4", "smtp4-g21.free.fr", "free", "provider"),
    _same("212.27.42.9", "smtpfb1-g21.free.fr", "free", "provider"),
    Row("80.12.242.78", "smtp-78.smtpout.orange.fr", "smtp.smtpout.orange.fr", "orange", "provider"),
    _same("160.92.124.103", "smtp-outgoing-1802.laposte.net", "laposte", "provider"),
    Row("213.209.10.18", "smtp-18.italiaonline.it", "libero.it", "libero", "provider"),
    Row("213.120.69.95", "mailomta2-re.btinternet.com", "re-prd-fep-046.btinternet.com", "bt", "provider"),
    Row("47.43.26.133", "p-impout002aa.msg.pkvw.co.charter.net", "p-impout002", "charter", "provider"),
    _same("96.103.146.59", "resqmta-a2p-640029.sys.comcast.net", "comcast", "provider"),
    _same("162.62.57.137", "out162-62-57-137.mail.qq.com", "tencent", "provider"),
    Row("43.154.54.12", "biz-43-154-54-12.mail.qq.com", "smtpbg.qq.com", "tencent", "provider"),
    _same("220.181.15.24", "m1524.mail.126.com", "netease", "provider"),
    _same("61.135.153.182", "smtp153-182.sina.com.cn", "sina", "provider"),
    Row("211.231.106.176", "mail-smail-vm101.daum.net", "mail-smail-vm101.hanmail.net", "kakao", "provider"),
    _same("77.75.78.34", "mxe.seznam.cz", "seznam", "provider"),
    _same("212.77.101.11", "mx4.wp.pl", "wp", "provider"),
    Row("94.100.176.130", "fallback17.m.smailru.net", "fallback17.mail.ru", "mail-ru", "provider"),
    _same("46.30.211.179", "mailrelay4-1.pub.mailoutpod2-cph3.one.com", "one-com", "provider"),
    _same("34.2.82.16", "sonic-euwe1-0017.asd.mail.yahoo.com", "yahoo", "provider"),
    _same("98.137.68.82", "sonic306-19.consmr.mail.sg3.yahoo.com", "yahoo", "provider"),
    _same("54.174.52.216", "pgg17e.bf01x.hubspotemail.net", "hubspot", "provider"),
    _same("74.63.194.126", "o7463194126.static.reverse.sendgrid.net", "sendgrid", "provider"),
    _same("148.163.129.52", "dispatch1-us1.ppe-hosted.com", "proofpoint-essentials", "provider"),
    _same("158.120.84.165", "e3i165.smtp2go.com", "smtp2go", "provider"),
    Row(
        "216.69.139.34",
        "p3plsmtp26-06-2.prod.phx3.secureserver.net",
        "p3plwbeout26-06.prod.phx3.secureserver.net",
        "godaddy",
        "provider",
    ),
    Row("209.85.210.45", None, "mail-ot1-f45.google.com", NETWORK, "no-name"),
    Row("192.0.2.77", "mail.evil-google.com", "mail-ot1-f45.google.com", NETWORK, "helo-elsewhere"),
    _same("192.0.2.77", "google.com.example.net", "example.net", "named"),
)

_SHARED = (
    _same("51.75.19.47", "vps-a2bccee9.vps.ovh.net", NETWORK, "shared-host"),
    _same("213.133.104.62", "www62.your-server.de", NETWORK, "shared-host"),
    _same("5.75.144.95", "static.95.144.75.5.clients.your-server.de", NETWORK, "shared-host"),
    _same("104.154.87.183", "183.87.154.104.bc.googleusercontent.com", NETWORK, "shared-host"),
    _same("192.0.2.9", "shop.westeurope.cloudapp.azure.com", NETWORK, "shared-host"),
    _same("192.0.2.9", "192.0.2.9.vultrusercontent.com", NETWORK, "shared-host"),
    _same("192.0.2.9", "0a1b.pub.instances.scw.cloud", NETWORK, "shared-host"),
    _same("54.186.198.63", "ec2-54-186-198-63.us-west-2.compute.amazonaws.com", NETWORK, "shared-host"),
    _same("45.79.223.146", "li1322-146.members.linode.com", NETWORK, "shared-host"),
    _same("85.214.29.144", "h2730561.stratoserver.net", NETWORK, "shared-host"),
    _same("72.167.33.213", "ip-72-167-33-213.ip.secureserver.net", NETWORK, "shared-host"),
    _same("72.167.33.213", "p3nlhg7.shr.prod.phx3.secureserver.net", NETWORK, "shared-host"),
    Row("161.97.139.27", "vmd64148.contaboserver.net", "mail.example.org", NETWORK, "shared-host"),
    _same("192.0.2.9", "contaboserver.net", NETWORK, "shared-host"),
    _same("192.0.2.9", "mail.notcontaboserver.net", "notcontaboserver.net", "named"),
)

_GENERATED_V4 = tuple(
    _same(_V4, f"{text}.example.net", NETWORK, "generated")
    for text in (
        "192-0-2-77",
        "192.0.2.77",
        "77-2-0-192",
        "77.2.0.192.rev",
        "host192-0-2",
        "ip-0-2-77",
        "h2-0-192",
        "h77-2-0.a",
        "192x0x2x77",
        "192_0_2_77",
        "static-192-0-2-77",
        "192-000-002-077",
        "77.a.2.0.192",
        "a192000002077",
        "a192000002",
        "000002077",
        "077002000192",
        "c000024d",
        "p4d0200c0.dip0",
        "x00024d",
        "xc00002y",
        "4d0200",
        "dsl",
        "a.dsl",
        "dyn7",
        "7dyn",
        "x-pool-3",
        "a1.dial",
        "ppp0",
        "cpe-12",
        "1.dhcp",
        "cust42.city",
        "dynamic",
        "fix-adsl-a",
        "abo",
        "residential",
    )
)
_NAMED_V4 = tuple(
    _same(_V4, f"{text}.example.net", "example.net", "named")
    for text in (
        "mail",
        "mail77",
        "mail-2-77",
        "a2-77.out",
        "mail-0-192",
        "192-2-0-77",  # not in order
        "192-9-0-9-2-77",
        "192.0.9.2",
        "198-51-100-7",  # somebody else's address
        "c6336407",
        "mail12345678901234567890",
        "000024",  # six digits without a letter
        "1000077",
        "static",
        "static1",
        "host",
        "host-77",
        "dynamo",
        "pooling",
        "smtpdsl",
        "spool",
        "dialogue",
        "customs",
        "xn--pool-cua",
        "_mail",
        "a_b-c",
    )
)
_GENERATED_V6 = tuple(
    _same(_V6, f"{text}.example.net", NETWORK, "generated")
    for text in (
        "2001-db8-12-34ab--5-6",
        "2001-0db8-0012-34ab-0000-0000-0005-0006",
        "20010db8001234ab0000000000050006",
        "p20010db8001234ab0000000000050006.dip0",
        "node-2001-db8-12",
        "db8-12-34ab",
        "0db8001234ab",
        "6.0.0.0.5.0.0.0.0.0.0.0.0.0.0.0.b.a.4.3.2.1.0.0.8.b.d.0.1.0.0.2",
        "b.a.4.3.2.1.0.0.8.b.d.0.ip6",
        "34ab-12-db8",
        "12.34ab.5",
        "dsl",
    )
)
_NAMED_V6 = tuple(
    _same(_V6, f"{text}.example.net", "example.net", "named")
    for text in (
        "mail-wm1-x6",
        "mail-5-6",
        "mail-0-5-6a",
        "2001-db8",
        "a-0-0-0",
        "mail-192-0-2-77",
        "fe80-1-2-3",
        "deadbeefcafe",
    )
)

_NAMES = (
    Row(_V4, "MAIL.Example.ORG.", "Mail.EXAMPLE.org", "example.org", "named"),
    Row(_V4, "mail.example.org", "MAIL.EXAMPLE.ORG.", "example.org", "named"),
    Row(_V4, "example.org", "example.org", "example.org", "named"),
    Row(_V4, "example.org", "mail.example.org", "example.org", "named"),
    Row(_V4, "mail.dsl.net", "mail.dsl.net", "dsl.net", "named"),
    Row(_V4, "pool.org", "pool.org", "pool.org", "named"),
    Row(_V4, "mail.bücher.example.org", "mail.example.org", "example.org", "named"),
    Row(_V4, "mail.bücher.de", "mail.xn--bcher-kva.de", "xn--bcher-kva.de", "named"),
    Row(_V4, "mail.xn--bcher-kva.de", "mail.bücher.de", "xn--bcher-kva.de", "named"),
    Row(_V4, "mail.example.org", "example.com", NETWORK, "helo-elsewhere"),
    Row(_V4, "mail.example.org", "", NETWORK, "helo-elsewhere"),
    Row(_V4, "mail.example.org", "org", NETWORK, "helo-elsewhere"),
    Row(_V4, "mail.example.org", "localhost", NETWORK, "helo-elsewhere"),
    Row(_V4, "mail.example.org", "[192.0.2.77]", NETWORK, "helo-elsewhere"),
    Row(_V4, "mail.example.org", "192.0.2.77", NETWORK, "helo-elsewhere"),
    Row(_V4, "mail.example.org", "mail example.org", NETWORK, "helo-elsewhere"),
    Row(_V4, "mail.example.org", "notexample.org", NETWORK, "helo-elsewhere"),
    Row(_V4, "mail.example.org", "example.org.example.net", NETWORK, "helo-elsewhere"),
    Row(_V4, "mail.example.org", "x" * 300 + ".example.org", NETWORK, "helo-elsewhere"),
    Row(_V4, "one.example.co.uk", "two.example2.co.uk", NETWORK, "helo-elsewhere"),
    Row(_V4, "one.github.io", "two.github.io", NETWORK, "helo-elsewhere"),
    Row(_V4, "a.one.github.io", "one.github.io", "one.github.io", "named"),
    Row(_V4, "", "mail.example.org", NETWORK, "no-name"),
    Row(_V4, "org", "org", NETWORK, "no-domain"),
    Row(_V4, "github.io", "github.io", NETWORK, "no-domain"),
    Row(_V4, "localhost", "localhost", NETWORK, "no-domain"),
    Row(_V4, "mail.corp.local", "mail.corp.local", "corp.local", "named"),
    Row(_V4, "mail.newtld", "helo.mail.newtld", "mail.newtld", "named"),
    Row(_V4, "one.corp.local", "two.other.local", NETWORK, "helo-elsewhere"),
    Row(_V4, "192.0.2.9", "192.0.2.9", NETWORK, "no-domain"),
    Row(_V4, "mail..example.org", "mail.example.org", NETWORK, "odd-name"),
    Row(_V4, ".example.org", "mail.example.org", NETWORK, "odd-name"),
    Row(_V4, "...", "mail.example.org", NETWORK, "odd-name"),
    Row(_V4, "mail example.org", "mail example.org", NETWORK, "odd-name"),
    Row(_V4, "spf:example.org", "spf:example.org", NETWORK, "odd-name"),
    Row(_V4, "192.0.2.0/24", "192.0.2.0/24", NETWORK, "odd-name"),
    Row(_V4, "m\udce4il.example.org", "m\udce4il.example.org", NETWORK, "odd-name"),
    Row(_V4, "mail\x00.example.org", "mail\x00.example.org", NETWORK, "odd-name"),
    Row(_V4, "x" * 64 + ".example.org", "mail.example.org", NETWORK, "odd-name"),
    Row(_V4, "x." * 150 + "example.org", "mail.example.org", NETWORK, "odd-name"),
    Row(_V4, "x." * 5000 + "example.org", "mail.example.org", NETWORK, "odd-name"),
    Row("51.68.1.9", "ns3012345.ip-51-68-1.eu", "ns3012345.ip-51-68-1.eu", NETWORK, "generated"),
    Row("93.219.62.201", "p5DDB3EC9.dip0.t-ipconnect.de", "zn.tnic", NETWORK, "generated"),
    Row("1.165.3.60", "1-165-3-60.dynamic-ip.hinet.net", "ms.hinet.net", NETWORK, "generated"),
    Row("5.4.3.2", "h5040302.example.net", "h5040302.example.net", NETWORK, "generated"),
    Row("6.5.4.3", "h3040506.example.net", "h3040506.example.net", NETWORK, "generated"),
)

ROWS = (
    *MAN_ROWS,
    *_PROVIDERS,
    *_SHARED,
    *_GENERATED_V4,
    *_NAMED_V4,
    *_GENERATED_V6,
    *_NAMED_V6,
    *_NAMES,
)

CUSTOMERS = (
    # rented machines and web servers
    "ec2-54-186-198-63.us-west-2.compute.amazonaws.com",
    "ec2-3-120-1-2.eu-central-1.compute.amazonaws.com",
    "ec2-52-1-2-3.compute-1.amazonaws.com",
    "ip-10-0-0-1.ec2.internal",
    "183.87.154.104.bc.googleusercontent.com",
    "shop.westeurope.cloudapp.azure.com",
    "mail.eastus.cloudapp.azure.com",
    "vps-a2bccee9.vps.ovh.net",
    "vps123456.ovh.net",
    "ns3012345.ip-51-68-1.eu",
    "ks3306108.kimsufi.com",
    "cluster002.hosting.ovh.net",
    "vmi888983.contaboserver.net",
    "vmd64148.contaboserver.net",
    "li1322-146.members.linode.com",
    "139-162-51-66.ip.linodeusercontent.com",
    "140.82.3.130.vultrusercontent.com",
    "192.0.2.9.vultr.com",
    "static.95.144.75.5.clients.your-server.de",
    "www62.your-server.de",
    "mail.example.digitalocean.com",
    "h2730561.stratoserver.net",
    "u12345.onlinehome-server.info",
    "s12345.kundenserver.de",
    "srv123456.hstgr.cloud",
    "srv-plesk01.hostinger.io",
    "ip-72-167-33-213.ip.secureserver.net",
    "p3nlhg1234.shr.prod.phx3.secureserver.net",
    "smtp.secureserver.net",
    "192-185-48-71.unifiedlayer.com",
    "box1234.bluehost.com",
    "reseller.websitewelcome.com",
    "static-1-2-3-4.reverse.softlayer.com",
    "host1-2-3-4.serverdedicati.aruba.it",
    # access customers of those who are providers too
    "ip197-132-198-217.pool-bba.aruba.it",
    "c-73-1-2-3.hsd1.ma.comcast.net",
    "mail.hsd1.ma.comcast.net",
    "47-43-26-1.dhcp.charter.net",
    "024-1-2-3.res.spectrum.com",
    "impout1.res.charter.net",
    "p5DDB3EC9.dip0.t-ipconnect.de",
    "mailout.t-online.de.example.net",
    "dsl-mailout1.t-online.de",
    "lfbn-par-1-2-3.w92-1.abo.wanadoo.fr",
    "lfbn-idf1-1-2.w90-1.abo.orange.fr",
    "smtp1.abo.orange.fr",
    "abc75-1-2-3-4.fbx.proxad.net",
    "smtp-perso.free.fr",
    "perso12.free.fr",
    "1.2.3.4.rev.sfr.net",
    "smtp7.rev.sfr.fr",
    "host1-2-3-4.range86-1.btcentralplus.com",
    "mail.host1.in-addr.btopenworld.com",
    "smtp1.btinternet.com",
    "cpc1-know-2.cable.virginm.net",
    "know-smtprelay-omc-6.cable.virginmedia.net",
    "149-238.105-92.cust.bluewin.ch",
    "d51a1b2c3.access.telenet.be",
    "1-2-3-4.fixed.kpn.net",
    "net-1-2-3-4.cust.vodafonedsl.it",
    "host-1-2-3-4.business.telecomitalia.it",
    "pool.sina.com.cn",
    "smtpx-7.sina.com.cn",
    # names that look like a provider's
    "google.com.example.net",
    "mail.evil-google.com",
    "amazonses.com.example.org",
    "outbound.protection.outlook.com.example.org",
    "smtp.outlook.com",
    "host.protection.outlook.com",
    "mail-mail.facebook.com.example.org",
    "web1.facebook.com",
    "linkedin.com",
    "mx4.wp.pl.example.org",
    "www.wp.pl",
    "x.mx4.wp.pl",
)
"""Names that customers have, or could: no provider has them, least of all one whose mail passes at once."""
