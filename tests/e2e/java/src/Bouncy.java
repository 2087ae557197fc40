import java.io.OutputStream;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.KeyPair;
import java.security.PrivateKey;
import java.security.SecureRandom;
import java.security.cert.CertPathBuilder;
import java.security.cert.CertStore;
import java.security.cert.CollectionCertStoreParameters;
import java.security.cert.PKIXBuilderParameters;
import java.security.cert.TrustAnchor;
import java.security.cert.X509CertSelector;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.bouncycastle.asn1.ASN1Encodable;
import org.bouncycastle.asn1.ASN1Enumerated;
import org.bouncycastle.asn1.ASN1Integer;
import org.bouncycastle.asn1.ASN1OctetString;
import org.bouncycastle.asn1.DERNull;
import org.bouncycastle.asn1.DERSequence;
import org.bouncycastle.asn1.DERUTF8String;
import org.bouncycastle.asn1.cmp.CMPObjectIdentifiers;
import org.bouncycastle.asn1.cmp.CertRepMessage;
import org.bouncycastle.asn1.cmp.CertResponse;
import org.bouncycastle.asn1.cmp.GenMsgContent;
import org.bouncycastle.asn1.cmp.GenRepContent;
import org.bouncycastle.asn1.cmp.InfoTypeAndValue;
import org.bouncycastle.asn1.cmp.PBMParameter;
import org.bouncycastle.asn1.cmp.PKIBody;
import org.bouncycastle.asn1.cmp.PKIHeader;
import org.bouncycastle.asn1.cmp.PollRepContent;
import org.bouncycastle.asn1.cmp.PollReqContent;
import org.bouncycastle.asn1.cmp.RevDetails;
import org.bouncycastle.asn1.cmp.RevRepContent;
import org.bouncycastle.asn1.cmp.RevReqContent;
import org.bouncycastle.asn1.crmf.CertTemplateBuilder;
import org.bouncycastle.asn1.nist.NISTObjectIdentifiers;
import org.bouncycastle.asn1.pkcs.CertificationRequest;
import org.bouncycastle.asn1.pkcs.PBMAC1Params;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.asn1.x500.RDN;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.Extensions;
import org.bouncycastle.asn1.x509.GeneralName;
import org.bouncycastle.cert.X509CRLHolder;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.cmp.CertificateConfirmationContentBuilder;
import org.bouncycastle.cert.cmp.GeneralPKIMessage;
import org.bouncycastle.cert.cmp.ProtectedPKIMessage;
import org.bouncycastle.cert.cmp.ProtectedPKIMessageBuilder;
import org.bouncycastle.cert.crmf.CertificateReqMessagesBuilder;
import org.bouncycastle.cert.crmf.PKMACBuilder;
import org.bouncycastle.cert.crmf.jcajce.JcaCertificateRequestMessageBuilder;
import org.bouncycastle.cert.crmf.jcajce.JcePKMACValuesCalculator;
import org.bouncycastle.cert.jcajce.JcaX509CertificateConverter;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.operator.GenericKey;
import org.bouncycastle.operator.MacCalculator;
import org.bouncycastle.operator.PBEMacCalculatorProvider;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.operator.jcajce.JcaContentVerifierProviderBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;
import org.bouncycastle.pkcs.jcajce.JcePBMac1CalculatorBuilder;
import org.bouncycastle.pkcs.jcajce.JcePBMac1CalculatorProviderBuilder;

/** A CMP client put together of what Bouncy Castle has for it: messages, protection, certificate requests, confirmations. */
final class Bouncy {
    private static final X500Name NOBODY = new X500Name(new RDN[0]);
    private static final AlgorithmIdentifier SHA256 = new AlgorithmIdentifier(NISTObjectIdentifiers.id_sha256);
    private static final AlgorithmIdentifier HMAC = new AlgorithmIdentifier(PKCSObjectIdentifiers.id_hmacWithSHA256, DERNull.INSTANCE);
    private static final SecureRandom RANDOM = new SecureRandom();

    private final Asked in;
    private final Post post;
    private final List<X509Certificate> anchors;
    private final List<X509Certificate> own;
    private final PrivateKey key;
    private final byte[] tid = random();
    private byte[] answered;

    Bouncy(Asked in, Post post) throws Exception {
        this.in = in;
        this.post = post;
        anchors = Pem.certs(in.need("anchors"));
        own = in.has("cert") ? Pem.certs(in.get("cert")) : List.of();
        key = in.has("key") ? Pem.key(in.get("key")) : null;
    }

    private static byte[] random() {
        byte[] r = new byte[16];
        RANDOM.nextBytes(r);
        return r;
    }

    String run() throws Exception {
        switch (in.need("op")) {
            case "ir":
                return enrol(header().setBody(PKIBody.TYPE_INIT_REQ, request().build()));
            case "cr":
                return enrol(header().setBody(PKIBody.TYPE_CERT_REQ, request().build()));
            case "kur":
                return enrol(header().setBody(PKIBody.TYPE_KEY_UPDATE_REQ, request().build()));
            case "p10cr":
                return enrol(header().setBody(new PKIBody(PKIBody.TYPE_P10_CERT_REQ, CertificationRequest.getInstance(Pem.bytes(in.need("csr"))))));
            case "rr":
                return revoke();
            case "crl":
                return crl();
            default:
                throw new IllegalArgumentException("no such operation");
        }
    }

    // --- one message and its answer -----------------------------------------------------------------------------------------------------
    private static ContentSigner signer(PrivateKey key) throws Exception {
        String alg = key.getAlgorithm().startsWith("EC") ? "SHA256withECDSA" : key.getAlgorithm().equals("RSA") ? "SHA256withRSA" : "Ed25519";
        return new JcaContentSignerBuilder(alg).build(key);
    }

    private MacCalculator mac() throws Exception {
        char[] secret = in.get("secret").toCharArray();
        if (in.get("mac").equals("pbmac1"))
            return named(new JcePBMac1CalculatorBuilder("HmacSHA256", 256).setIterationCount(2000).build(secret));
        return new PKMACBuilder(new JcePKMACValuesCalculator()).setParameters(new PBMParameter(random(), SHA256, 2000, HMAC)).build(secret);
    }

    /** Bouncy Castle 1.78.1 calls the key derivation PBES2 where RFC 8018 appendix A.5 has PBKDF2; it reads the right name, too. */
    private static MacCalculator named(MacCalculator mac) {
        PBMAC1Params p = PBMAC1Params.getInstance(mac.getAlgorithmIdentifier().getParameters());
        AlgorithmIdentifier right = new AlgorithmIdentifier(PKCSObjectIdentifiers.id_PBMAC1, new PBMAC1Params(
                new AlgorithmIdentifier(PKCSObjectIdentifiers.id_PBKDF2, p.getKeyDerivationFunc().getParameters()), p.getMessageAuthScheme()));
        return new MacCalculator() {
            @Override
            public AlgorithmIdentifier getAlgorithmIdentifier() {
                return right;
            }

            @Override
            public OutputStream getOutputStream() {
                return mac.getOutputStream();
            }

            @Override
            public byte[] getMac() {
                return mac.getMac();
            }

            @Override
            public GenericKey getKey() {
                return mac.getKey();
            }
        };
    }

    private PBEMacCalculatorProvider macs() {
        return in.get("mac").equals("pbmac1") ? new JcePBMac1CalculatorProviderBuilder().build()
                : new PKMACBuilder(new JcePKMACValuesCalculator(), 10_000);
    }

    private ProtectedPKIMessageBuilder header() throws Exception {
        X500Name me = own.isEmpty() ? NOBODY : X500Name.getInstance(own.get(0).getSubjectX500Principal().getEncoded());
        ProtectedPKIMessageBuilder b = new ProtectedPKIMessageBuilder(in.number("pvno", PKIHeader.CMP_2000), new GeneralName(me),
                new GeneralName(NOBODY)).setTransactionID(tid).setSenderNonce(random()).setMessageTime(new Date());
        if (answered != null)
            b.setRecipNonce(answered);
        else if (in.yes("implicit"))
            b.addGeneralInfo(new InfoTypeAndValue(CMPObjectIdentifiers.it_implicitConfirm, DERNull.INSTANCE));
        if (in.has("profile"))
            b.addGeneralInfo(new InfoTypeAndValue(CMPObjectIdentifiers.id_it_certProfile, new DERSequence(new DERUTF8String(in.get("profile")))));
        if (in.has("reference"))
            b.setSenderKID(in.get("reference").getBytes(StandardCharsets.US_ASCII));
        for (X509Certificate c : own)
            b.addCMPCertificate(new X509CertificateHolder(c.getEncoded()));
        return b;
    }

    private PKIBody ask(ProtectedPKIMessageBuilder b) throws Exception {
        ProtectedPKIMessage request = in.has("secret") ? b.build(mac()) : b.build(signer(key));
        ProtectedPKIMessage answer = new ProtectedPKIMessage(new GeneralPKIMessage(post.ask(request.toASN1Structure().getEncoded())));
        if (in.has("secret") ? !answer.verify(macs(), in.get("secret").toCharArray()) : !signed(answer))
            throw new IllegalStateException("the answer's protection does not verify");
        if (!ASN1OctetString.getInstance(answer.getHeader().getTransactionID()).equals(request.getHeader().getTransactionID()))
            throw new IllegalStateException("another transactionID");
        answered = answer.getHeader().getSenderNonce().getOctets();
        if (answer.getBody().getType() == PKIBody.TYPE_ERROR)
            throw new IllegalStateException("an error");
        return answer.getBody();
    }

    private boolean signed(ProtectedPKIMessage answer) throws Exception {
        List<X509Certificate> all = new ArrayList<>();
        for (X509CertificateHolder c : answer.getCertificates())
            all.add(new JcaX509CertificateConverter().getCertificate(c));
        chain(all.get(0), all);
        return answer.verify(new JcaContentVerifierProviderBuilder().build(all.get(0)));
    }

    private void chain(X509Certificate cert, List<X509Certificate> others) throws Exception {
        X509CertSelector target = new X509CertSelector();
        target.setCertificate(cert);
        Set<TrustAnchor> roots = anchors.stream().map(a -> new TrustAnchor(a, null)).collect(Collectors.toSet());
        PKIXBuilderParameters p = new PKIXBuilderParameters(roots, target);
        p.setRevocationEnabled(false);
        p.addCertStore(CertStore.getInstance("Collection", new CollectionCertStoreParameters(others)));
        CertPathBuilder.getInstance("PKIX").build(p);
    }

    // --- certificates ---------------------------------------------------------------------------------------------------------------------
    private CertificateReqMessagesBuilder request() throws Exception {
        KeyPair pair = Pem.pair(in.need("new"));
        JcaCertificateRequestMessageBuilder b = new JcaCertificateRequestMessageBuilder(BigInteger.ZERO);
        b.setSubject(in.has("subject") ? new X500Name(in.get("subject")) : X500Name.getInstance(own.get(0).getSubjectX500Principal().getEncoded()));
        b.setPublicKey(pair.getPublic());
        if (in.yes("ra_verified"))
            b.setProofOfPossessionRaVerified();
        else
            b.setProofOfPossessionSigningKeySigner(signer(pair.getPrivate()));
        CertificateReqMessagesBuilder all = new CertificateReqMessagesBuilder();
        all.addRequest(b.build());
        return all;
    }

    private String enrol(ProtectedPKIMessageBuilder request) throws Exception {
        PKIBody got = ask(request);
        int check = 0;
        for (boolean first = true; Post.isWaiting(got) || got.getType() == PKIBody.TYPE_POLL_REP; first = false) {
            if (!first) {
                check = ((PollRepContent) got.getContent()).getCheckAfter(0).intValueExact();
                post.pause();
            }
            got = ask(header().setBody(new PKIBody(PKIBody.TYPE_POLL_REQ, new PollReqContent(BigInteger.ZERO))));
        }
        CertResponse response = ((CertRepMessage) got.getContent()).getResponse()[0];
        X509CertificateHolder cert = new X509CertificateHolder(
                response.getCertifiedKeyPair().getCertOrEncCert().getCertificate().getX509v3PKCert());
        Pem.write(in.need("out"), cert);
        if (!in.yes("implicit"))
            confirm(cert, response.getCertReqId());
        return "status=" + response.getStatus().getStatus() + "\tid=" + response.getCertReqId() + "\tcheck=" + check;
    }

    private void confirm(X509CertificateHolder cert, ASN1Integer id) throws Exception {
        PKIBody done = ask(header().setBody(PKIBody.TYPE_CERT_CONFIRM, new CertificateConfirmationContentBuilder()
                .addAcceptedCertificate(cert, id).build(new JcaDigestCalculatorProviderBuilder().build())));
        if (done.getType() != PKIBody.TYPE_CONFIRM)
            throw new IllegalStateException("no pkiConf");
    }

    // --- revocation and questions ------------------------------------------------------------------------------------------------------------
    private String revoke() throws Exception {
        X509Certificate old = Pem.certs(in.need("old")).get(0);
        CertTemplateBuilder t = new CertTemplateBuilder().setIssuer(X500Name.getInstance(old.getIssuerX500Principal().getEncoded()))
                .setSerialNumber(new ASN1Integer(old.getSerialNumber()));
        Extensions entry = new Extensions(new Extension(Extension.reasonCode, false,
                new ASN1Enumerated(in.number("reason", 0)).getEncoded()));
        PKIBody got = ask(header().setBody(new PKIBody(PKIBody.TYPE_REVOCATION_REQ, new RevReqContent(new RevDetails(t.build(), entry)))));
        return "status=" + ((RevRepContent) got.getContent()).getStatus()[0].getStatus();
    }

    private String crl() throws Exception {
        PKIBody got = ask(header().setBody(new PKIBody(PKIBody.TYPE_GEN_MSG,
                new GenMsgContent(new InfoTypeAndValue(CMPObjectIdentifiers.it_currentCRL)))));
        ASN1Encodable value = ((GenRepContent) got.getContent()).toInfoTypeAndValueArray()[0].getInfoValue();
        X509CRLHolder crl = new X509CRLHolder(value.toASN1Primitive().getEncoded());
        return "revoked=" + crl.getRevokedCertificates().size();
    }
}
