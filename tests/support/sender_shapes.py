"""Envelope senders as they are seen in the wild, two of each shape, and the text both become.

The accounts, tokens and names are made up; the domains are those of the senders where they belong to
the shape.  multigrey(8) shows the rows that are marked.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RECIPIENT", "SHAPES", "Shape"]

RECIPIENT = "user@example.org"


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape: a sender, the same one with its next message, and the text of both."""

    name: str
    sender: str
    again: str
    text: str
    shown: bool = False  # in the manual page


SHAPES = (
    # Extensions.
    Shape("extension", "anna+shop@example.com", "anna+bank@example.com", "anna@example.com", shown=True),
    Shape("two extensions", "anna+a+b@example.com", "anna+c@example.com", "anna@example.com"),
    Shape(
        "Gmail forwarding",
        "anna+caf_=user=example.org@gmail.com",
        "anna+caf_=user=example.com@gmail.com",
        "anna@gmail.com",
    ),
    Shape(
        "Google Groups",
        "list+bncbd4ndkwhqydrbfo67ocamgqe6jctgdy@googlegroups.com",
        "list+bncbc4lxipcy4nrbum3xx6qkgqeutfdlyq@googlegroups.com",
        "list@googlegroups.com",
        shown=True,
    ),
    Shape(
        "Discourse",
        "forum+verp-cdef9eaa098cd788943a4314c682b75a@discoursemail.com",
        "forum+verp-0b7ddc1f64a2439e8a1d1c9b5f6e2a10@discoursemail.com",
        "forum@discoursemail.com",
    ),
    Shape(
        "Facebook",
        "notification+kr4yxeragnmn@facebookmail.com",
        "notification+zj4oocoo19cs@facebookmail.com",
        "notification@facebookmail.com",
    ),
    Shape("GitHub", "noreply+abcdef12345@github.com", "noreply+98765fedcba@github.com", "noreply@github.com"),
    Shape(
        "GitLab",
        "incoming+group-project-123-k9x8w7-issue@example.com",
        "incoming+group-project-123-a1b2c3-issue@example.com",
        "incoming@example.com",
    ),
    Shape(
        "Zendesk",
        "support+id7x2kqp-0dw1@firm.zendesk.com",
        "support+idr93mvz-8j2l@firm.zendesk.com",
        "support@firm.zendesk.com",
    ),
    Shape(
        "LinkedIn, older",
        "mbr+vuhcrr4wqfttwqsz-c5wzeiicw1e0@bounce.linkedin.com",
        "mbr+k2l0d7wxyz3rtwqq-a1b2c3d4e5f6@bounce.linkedin.com",
        "mbr@bounce.linkedin.com",
    ),
    Shape(
        "Sympa",
        "list-bounce+user==a==example.org@lists.example.com",
        "list-bounce+user==a==example.net@lists.example.com",
        "list-bounce@lists.example.com",
    ),
    Shape(
        "Mailman",
        "list-bounces+user=example.org@lists.example.com",
        "list-bounces+9c51e7a1d2b34f60@lists.example.com",
        "list-bounces@lists.example.com",
        shown=True,
    ),
    Shape(
        "mlmmj",
        "list+bounces-12345-user=example.org@lists.example.com",
        "list+bounces-12346-user=example.org@lists.example.com",
        "list@lists.example.com",
    ),
    Shape(
        "Groups.io",
        "bounce+64575+163154+4520527+8129362@lists.example.com",
        "bounce+64575+255389+4520527+8129362@lists.example.com",
        "bounce@lists.example.com",
    ),
    Shape(
        "SendGrid",
        "bounces+12345-ab12-user=example.org@em1234.example.com",
        "bounces+12345-634f-user=example.org@em1234.example.com",
        "bounces@em1234.example.com",
        shown=True,
    ),
    Shape(
        "Mailgun",
        "bounce+9f5fac.6c9a7e-user=example.org@mg.example.com",
        "bounce+20b1cc.04f7d2-user=example.org@mg.example.com",
        "bounce@mg.example.com",
    ),
    Shape(
        "Amazon, older",
        "ems+hdvkqp1ws0zylbz9aq@bounces.amazon.com",
        "ems+1x9kq0wppz5tg2m4cd@bounces.amazon.com",
        "ems@bounces.amazon.com",
    ),
    # The recipient in the sender, and counters.
    Shape(
        "ezmlm",
        "list-return-123-user=example.org@lists.example.com",
        "list-return-124-user=example.org@lists.example.com",
        "list-return-#@lists.example.com",
        shown=True,
    ),
    Shape(
        "ezmlm digest",
        "list-return-7@lists.example.com",
        "list-return-8@lists.example.com",
        "list-return-#@lists.example.com",
    ),
    Shape(
        "ezmlm, another recipient",
        "list-return-123-anna=example.net@lists.example.com",
        "list-return-124-anna=example.net@lists.example.com",
        "list-return-#-anna=example.net@lists.example.com",
    ),
    Shape(
        "ezmlm confirmation",
        "list-sc.1234567.dcgpdkfimohjejclelga-user=example.org@lists.example.com",
        "list-sc.7654321.ponmlkjihgfedcbaponm-user=example.org@lists.example.com",
        "list-sc.#@lists.example.com",
    ),
    Shape(
        "Yahoo Groups",
        "sentto-482527-3071-992625570-user=example.org@returns.groups.yahoo.com",
        "sentto-482527-3072-992711970-user=example.org@returns.groups.yahoo.com",
        "sentto-#@returns.groups.yahoo.com",
    ),
    Shape(
        "SmartList",
        "bounce-debian-user=user=example.org@lists.example.com",
        "bounce-debian-user=user=example.org@lists.example.com",
        "bounce-debian-user=#@lists.example.com",
    ),
    Shape(
        "LISTSERV",
        "owner-list*user**example-org@listserv.example.com",
        "owner-list*user**example.org@listserv.example.com",
        "owner-list*#@listserv.example.com",
    ),
    Shape(
        "Lyris",
        "bounce-12345-6789@lists.example.com",
        "bounce-12399-6789@lists.example.com",
        "bounce-#@lists.example.com",
    ),
    Shape(
        "counter without a dash",
        "bounce12345@example.com",
        "bounce99887766@example.com",
        "bounce#@example.com",
    ),
    Shape(
        "list errors",
        "list-errors.1000008872.90074.1000035839.007.0.4@example.com",
        "list-errors.1000009113.90074.1000035999.007.0.4@example.com",
        "list-errors.#@example.com",
    ),
    Shape(
        "recipient, dots",
        "news.77123.user.example.org@bounces.example.com",
        "news.77124.user.example.org@bounces.example.com",
        "news.#@bounces.example.com",
    ),
    Shape(
        "recipient, dashes",
        "return-99-user-example-org@example.com",
        "return-100-user-example-org@example.com",
        "return-#@example.com",
    ),
    Shape(
        "recipient, underlines",
        "b_1699999999_user_example.org@example.com",
        "b_1700000123_user_example.org@example.com",
        "b_#@example.com",
    ),
    Shape(
        "recipient, #",
        "list-12-user#example.org@example.com",
        "list-13-user#example.org@example.com",
        "list-#@example.com",
    ),
    Shape(
        "recipient, percent",
        "list-12-user%example.org@example.com",
        "list-13-user%example.org@example.com",
        "list-#@example.com",
    ),
    Shape(
        "recipient, escaped",
        "list-12-user%40example.org@example.com",
        "list-13-user=40example=2eorg@example.com",
        "list-#@example.com",
    ),
    Shape(
        "recipient, at",
        "list-12-user_at_example.org@example.com",
        "list-13-user_at_example.org@example.com",
        "list-#@example.com",
    ),
    Shape(
        "recipient, domain first",
        "20-2231-example.org?user@example.com",
        "20-2232-example.org?user@example.com",
        "#@example.com",
    ),
    Shape(
        "recipient in hex",
        "return-12-75736572406578616d706c652e6f7267@example.com",
        "return-13-75736572406578616d706c652e6f7267@example.com",
        "return-#@example.com",
    ),
    Shape(
        "recipient in base32",
        "c-12-ovzwk4samv4gc3lqnrss433sm4@example.com",
        "c-13-ovzwk4samv4gc3lqnrss433sm4@example.com",
        "c-#@example.com",
    ),
    Shape(
        "recipient in base64url",
        "c-12-dxnlckblegftcgxllm9yzw@example.com",
        "c-13-dxnlckblegftcgxllm9yzw@example.com",
        "c-#@example.com",
    ),
    Shape(
        "Twitter",
        "b013614b853user=example.org@bounce.twitter.com",
        "b05372b0afduser=example.org@bounce.twitter.com",
        "#@bounce.twitter.com",
    ),
    Shape(
        "glued to a token",
        "b013614b853user=example.org@example.com",
        "b05372b0afduser=example.org@example.com",
        "#@example.com",
    ),
    # Wrapped up by a forwarder.
    Shape(
        "SRS0",
        "srs0=hhhh=tt=example.net=anna@forwarder.example",
        "srs0=r+5q=vj=example.net=anna@forwarder.example",
        "anna@example.net",
        shown=True,
    ),
    Shape(
        "SRS0, other separators",
        "srs0+i6a/=s4=example.net=anna@forwarder.example",
        "srs0-8lok=da=example.net=anna@forwarder.example",
        "anna@example.net",
    ),
    Shape(
        "SRS1",
        "srs1=gggg=first.example==hhhh=tt=example.net=anna@second.example",
        "srs1=kkkk=first.example==r+5q=vj=example.net=anna@second.example",
        "anna@example.net",
        shown=True,
    ),
    Shape(
        "SRS1, other separators",
        "srs1+gggg=first.example=+hhhh=tt=example.net=anna@second.example",
        "srs1-kkkk=first.example=-r5qq=vj=example.net=anna@second.example",
        "anna@example.net",
    ),
    Shape(
        "SRS0 in SRS0",
        "srs0=aaaa=bb=first.example=srs0=hhhh=tt=example.net=anna@second.example",
        "srs0=cccc=dd=first.example=srs0=kkkk=uu=example.net=anna@second.example",
        "anna@example.net",
    ),
    Shape(
        "SRS0 in SRS1 in SRS0",
        "srs0=xx=yy=b.example=srs1=gg=a.example==hh=tt=example.net=anna@c.example",
        "srs0=zz=yz=b.example=srs1=kk=a.example==ll=uu=example.net=anna@c.example",
        "anna@example.net",
    ),
    Shape(
        "SRS0 of a list",
        "srs0=hhhh=tt=lists.example.net=list-return-7-anna=example.com@forwarder.example",
        "srs0=kkkk=uu=lists.example.net=list-return-8-anna=example.com@forwarder.example",
        "list-return-#-anna=example.com@lists.example.net",
    ),
    Shape(
        "SRS0 of Mandrill",
        "srs0=pxzo=ox=bounce.example.net=bounce-md_30504962.669fdf8f.v1-"
        "3735091ab57244a69d6a9754f20f9e49@srs.example",
        "srs0=+ad7=2d=bounce.example.net=bounce-md_30504962.687fd366.v1-"
        "ad5ab1e21acf480e9a26de76f4bee34f@srs.example",
        "bounce-md_30504962.#@bounce.example.net",
    ),
    Shape(
        "Microsoft 365 SRS",
        "info+srs=hne87=c7=example.net=anna@firm.onmicrosoft.com",
        "info+srs=dmmzc=v3=example.net=anna@firm.onmicrosoft.com",
        "anna@example.net",
        shown=True,
    ),
    Shape(
        "Microsoft 365 SRS, long",
        "bounces+srs=hne87=c7@firm.onmicrosoft.com",
        "bounces+srs=dmmzc=v3@firm.onmicrosoft.com",
        "bounces@firm.onmicrosoft.com",
    ),
    # Signed by the sender.
    Shape(
        "BATV",
        "prvs=1234abcdef=anna@example.com",
        "prvs=5678fedcba=anna@example.com",
        "anna@example.com",
        shown=True,
    ),
    Shape(
        "BATV, nine", "prvs=81176a5d5=anna@example.com", "prvs=09697c964=anna@example.com", "anna@example.com"
    ),
    Shape(
        "BATV, tag last",
        "prvs=anna=1234abcdef@example.com",
        "prvs=anna/5678fedcba@example.com",
        "anna@example.com",
    ),
    Shape(
        "Barracuda",
        "btv1==0775a20b9c2==anna@example.com",
        "btv1==1052f9740c3==anna@example.com",
        "anna@example.com",
        shown=True,
    ),
    Shape(
        "SparkPost",
        "msprvs1=20192pa_4brjs=bounces-56831-18@bounces.example.com",
        "msprvs1=20570g1ngbo_g=bounces-56831-18@bounces.example.com",
        "bounces-#@bounces.example.com",
        shown=True,
    ),
    Shape(
        "BATV in SRS0",
        "srs0=hh=tt=example.net=prvs=1234abcdef=anna@forwarder.example",
        "srs0=kk=uu=example.net=prvs=5678fedcba=anna@forwarder.example",
        "anna@example.net",
    ),
    Shape(
        "SRS0 in BATV",
        "prvs=1234abcdef=srs0=hh=tt=example.net=anna@forwarder.example",
        "prvs=5678fedcba=srs0=kk=uu=example.net=anna@forwarder.example",
        "anna@example.net",
    ),
    Shape(
        "BATV with extension",
        "prvs=1234abcdef=anna+x@example.com",
        "prvs=5678fedcba=anna@example.com",
        "anna@example.com",
    ),
    # Tokens of services.
    Shape(
        "Amazon SES",
        "0100018cf450cae5-228c0b4f-d408-4013-b275-5f4d775559cb-000000@amazonses.com",
        "0100017483001207-0605d675-93b8-4537-840a-9c8b29742379-000000@amazonses.com",
        "#@amazonses.com",
        shown=True,
    ),
    Shape(
        "Amazon SES, own domain",
        "010201966312cde7-2d8ad485-a4a8-4f5d-8c24-b01804cc9dc4-000000@email.example.com",
        "01020196e3e2cde7-e6a091d6-b04f-4774-89b0-61f985885ac8-000000@email.example.com",
        "#@email.example.com",
    ),
    Shape(
        "Amazon orders",
        "202503241354076f0c20a445c047ccb39cd7b48310p0na-c39zak9dxfbm50@bounces.amazon.com",
        "2017062818244549a62a320d354447818b28158020p0na-c19wuoqgh538f3@bounces.amazon.com",
        "#@bounces.amazon.com",
        shown=True,
    ),
    Shape(
        "Mailchimp",
        "bounce-mc.us13_56201157.1608144-4e1ef36e05@mail229.wdc02.mcdlv.net",
        "bounce-mc.us13_56201157.1623310-0a9be77c12@mail12.wdc02.mcdlv.net",
        "bounce-mc.us13_56201157.#@mcdlv.net",
        shown=True,
    ),
    Shape(
        "Mailchimp, own domain",
        "bounce-mc.us11_46716125.599473-user=example.org@mail.example.com",
        "bounce-mc.us11_46716125.601234-user=example.org@mail.example.com",
        "bounce-mc.us11_46716125.#@mail.example.com",
    ),
    Shape(
        "Mandrill",
        "bounce-md_30504962.69c3af7f.v1-d93a7567d71940c395e9f609a47b96cd@mandrillapp.com",
        "bounce-md_30504962.66f53402.v1-bed7b4e8d2e64ca6923f6d14752892a7@mandrillapp.com",
        "bounce-md_30504962.#@mandrillapp.com",
        shown=True,
    ),
    Shape(
        "Brevo",
        "bounces-133768474-user=example.org@gt.d.sender-sib.com",
        "bounces-470616010-2104611724@gw.d.sender-sib.com",
        "bounces-#@d.sender-sib.com",
    ),
    Shape(
        "Brevo, own domain",
        "bounces-91910830-4256376833@email.example.com",
        "bounces-91910830-4256376999@email.example.com",
        "bounces-#@email.example.com",
    ),
    Shape(
        "HubSpot",
        "1axcgf3xirq6yz1peraqq43vga4ed723gixtdo@bf01.hubspotstarter.net",
        "1axboxju893tg7eaagtofaqrh34kq02m5dlwz8@bf01.hubspotstarter.net",
        "#@bf01.hubspotstarter.net",
    ),
    Shape(
        "HubSpot, own domain",
        "1axb06mzipx5up3rzlxc81eh16nhe81h8l7omi-user=example.org@mail.example.com",
        "1axbj19of276gl4u1me7u8w3ev1ohfe2yi1c6s-user=example.org@mail.example.com",
        "#@mail.example.com",
        shown=True,
    ),
    Shape(
        "Marketo",
        "107-fms-070.0.16516.0.0.5375.9.10954819@em.example.com",
        "107-fms-070.0.8007.0.0.4076.9.8319249@em.example.com",
        "107-fms-070.#@em.example.com",
    ),
    Shape(
        "Salesforce",
        "info=example.com__0-1r12zvjmnf8rqu.l9azxrxo3x5g2pzm@xqfk2ane5qjq38ec.um8.bnc.salesforce.com",
        "info=example.com__9m4vlv27x6v0rxwe@mmh2xurvokdh.a-hu5amac.na63.bnc.salesforce.com",
        "info@example.com",
        shown=True,
    ),
    Shape(
        "Salesforce marketing",
        "bounce-1234_html-5678901-23456-789012-3456@bounce.s7.exacttarget.com",
        "bounce-1299_html-5678901-24567-789012-3456@bounce.s7.exacttarget.com",
        "bounce-#_html-#@bounce.s7.exacttarget.com",
    ),
    Shape(
        "Constant Contact",
        "aigxeklyirlg+dvwkrmsgua==_1133104752381_suqcukvbeeynm/owplvdba==@in.constantcontact.com",
        "a1vdek4eqtvi/ni3ked62sg==_1133104752381_t+iblfa0ee+fkpowpmt8pw==@in.constantcontact.com",
        "#_1133104752381_#@in.constantcontact.com",
    ),
    Shape(
        "Acoustic (Silverpop)",
        "v-mhmmap_baninmiagij_ilhmhfib_ilhmgngh_a@bounce.example.com",
        "v-cdammaf_fgfpelnc_ighfmel_ighfmel_a-1@bounce.example.com",
        "v-#@bounce.example.com",
    ),
    Shape(
        "Google Calendar",
        "3xwczzwskcuiepib.firriimpmrevs.svkuiqy-hizipsrsrkry.svk@calendar-server.bounces.google.com",
        "3o8qxzwskcniqbun.ruddusuybdqhe.ehwguck-tulubdedwdk.ehw@calendar-server.bounces.google.com",
        "#@calendar-server.bounces.google.com",
        shown=True,
    ),
    Shape(
        "LinkedIn",
        "m-j7q2rwb8aca3ozj7n0uy4hluj7tlsdydo5j1tw9dvhagtr25o3b@bounce.linkedin.com",
        "m-2kfv1x9w0bqa8t7rzyc4nd5me6lgu3hspij1koz2w4tyv8rxq5ab@bounce.linkedin.com",
        "m-#@bounce.linkedin.com",
    ),
    Shape(
        "LinkedIn, short",
        "s-1234abc@bounce.linkedin.com",
        "s-98x7z6y5@bounce.linkedin.com",
        "s-#@bounce.linkedin.com",
    ),
    Shape(
        "Microsoft newsletters",
        "0_12345_11111111-2222-3333-4444-555555555555_us@newsletters.microsoft.com",
        "0_67890_a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d_us@newsletters.microsoft.com",
        "0_#_us@newsletters.microsoft.com",
    ),
    # Tokens of anybody.
    Shape(
        "UUID beside a name",
        "anna.example-11111111-2222-3333-4444-555555555555@example.com",
        "anna.example-a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d@example.com",
        "anna.example-#@example.com",
    ),
    Shape(
        "MD5",
        "nl-9e107d9d372bb6826bd81d3542a419d6@example.com",
        "nl-e4d909c290d0fb1ca068ffaddf22cbd0@example.com",
        "nl-#@example.com",
    ),
    Shape(
        "time stamp",
        "newsletter-20241112093000@example.com",
        "newsletter-20241119093000@example.com",
        "newsletter-#@example.com",
    ),
    Shape("date", "report.20241112@example.com", "report.20241113@example.com", "report.#@example.com"),
    Shape("ticket", "ticket-104711@example.com", "ticket-104712@example.com", "ticket-#@example.com"),
    Shape(
        "bounce host", "x7k2q9m@bounces.example.com", "p0w3e5r@bounces.example.com", "#@bounces.example.com"
    ),
    # Probes.
    Shape(
        "Postfix probe",
        "double-bounce@mx.example.com",
        "double-bounce@mx.example.com",
        "double-bounce@mx.example.com",
    ),
    Shape(
        "Postfix probe that changes",
        "double-bounce3xk9p@mx.example.com",
        "double-bouncebcdfg@mx.example.com",
        "double-bounce@mx.example.com",
        shown=True,
    ),
    Shape(
        "callout",
        "anna-callout-1699999999@example.com",
        "anna-callout-1700000123@example.com",
        "anna-callout-#@example.com",
    ),
    Shape("probe", "probe-4f2a9c@mx.example.com", "probe-17be03@mx.example.com", "probe-#@mx.example.com"),
    Shape(
        "Exchange journal",
        "microsoftexchange329e71ec88ae4615bbc36ab6ce41109e@example.com",
        "microsoftexchange0f1e2d3c4b5a69788796a5b4c3d2e1f0@example.com",
        "microsoftexchange#@example.com",
    ),
)
