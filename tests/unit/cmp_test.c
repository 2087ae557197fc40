#include "pki_help.h"

#include "pki/cmp.h"

#include <openssl/cmp.h>

/* The rows' bytes are DER written out; each differs from a good one in what its name says. */
struct row {
    const char *name, *hex;
    enum bm_rc want;
};
static const struct row messages[] = {
    { "least", "3011300b020102a4023000a4023000b3020500", BM_OK },
    { "all of it",
      "308195308182020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a20304016b"
      "a412041074747474747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea6120410727272727272"
      "72727272727272727272a70630040c026869a810300e300c06082b0601050507040d0500b3020500a00403020073a1043002"
      "3000",
      BM_OK },
    { "sender by mail",
      "305c30500201028103614062a4023000a011180f32303236303932313134313332305aa107300506032b6570a41204107474"
      "7474747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a00403020073",
      BM_OK },
    { "empty", "", BM_MALFORMED },
    { "no header", "3000", BM_MALFORMED },
    { "no body", "300d300b020102a4023000a4023000", BM_MALFORMED },
    { "a body of no type",
      "305b304f020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ebb020500a00403020073",
      BM_MALFORMED },
    { "a body that is primitive",
      "3059304f020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e9300a00403020073",
      BM_MALFORMED },
    { "two bodies",
      "305f304f020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500b3020500a00403020073",
      BM_MALFORMED },
    { "no version",
      "3058304ca4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474747474"
      "74747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a00403020073",
      BM_MALFORMED },
    { "negative version",
      "305b304f0201ffa4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a00403020073",
      BM_MALFORMED },
    { "sender without tag",
      "3059304d0201023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a41204107474747474"
      "7474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a00403020073",
      BM_MALFORMED },
    { "sender's name broken",
      "305d3051020102a40430023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a412041074"
      "747474747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a00403020073",
      BM_MALFORMED },
    { "time in UTCTime",
      "3059304d020102a4023000a4023000a00f170d3236303932313030303030305aa107300506032b6570a41204107474747474"
      "7474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a00403020073",
      BM_MALFORMED },
    { "time with an offset",
      "305f3053020102a4023000a4023000a015181332303236303932313030303030302b30313030a107300506032b6570a41204"
      "1074747474747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a00403020073",
      BM_MALFORMED },
    { "protectionAlg without OID",
      "3058304c020102a4023000a4023000a011180f32303236303932313134313332305aa10430020500a4120410747474747474"
      "74747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a00403020073",
      BM_MALFORMED },
    { "protectionAlg with two parameters",
      "305d3051020102a4023000a4023000a011180f32303236303932313134313332305aa109300706012a05000500a412041074"
      "747474747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a00403020073",
      BM_MALFORMED },
    { "transactionID of 65 bytes",
      "30818d308180020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a443044100"
      "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
      "0000000000000000000000000000a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a00403020073",
      BM_MALFORMED },
    { "transactionID twice",
      "30513045020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a403040174a403"
      "040174a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a00403020073",
      BM_MALFORMED },
    { "nonce implicit",
      "3059304d020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474851000000000000000000000000000000000b3020500a00403020073",
      BM_MALFORMED },
    { "fields out of order",
      "30603054020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a603040172a412"
      "041074747474747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a00403020073",
      BM_MALFORMED },
    { "freeText of another kind",
      "30623056020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea7053003040178b3020500a00403020073",
      BM_MALFORMED },
    { "certProfile",
      "3076306a020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea8193017301506082b0601050507041530"
      "090c0775706461746573b3020500a00403020073",
      BM_OK },
    { "certProfile of two names",
      "30733067020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea8163014301206082b0601050507041530"
      "060c01610c0162b3020500a00403020073",
      BM_OK },
    { "certProfile without a value",
      "306b305f020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea80e300c300a06082b06010505070415b3"
      "020500a00403020073",
      BM_MALFORMED },
    { "certProfile without a name",
      "306d3061020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea810300e300c06082b0601050507041530"
      "00b3020500a00403020073",
      BM_MALFORMED },
    { "certProfile in another string",
      "30703064020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea8133011300f06082b0601050507041530"
      "03130161b3020500a00403020073",
      BM_MALFORMED },
    { "certProfile is no list",
      "306e3062020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea811300f300d06082b060105050704150c"
      "0161b3020500a00403020073",
      BM_MALFORMED },
    { "certProfile with a second that is no name",
      "30733067020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea8163014301206082b0601050507041530"
      "060c0161020101b3020500a00403020073",
      BM_MALFORMED },
    { "certProfile with two values",
      "30753069020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea8183016301406082b0601050507041530"
      "030c016130030c0161b3020500a00403020073",
      BM_MALFORMED },
    { "generalInfo without OID",
      "30633057020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea806300430020500b3020500a004030200"
      "73",
      BM_MALFORMED },
    { "generalInfo with two values",
      "3068305c020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea80b3009300706012a05000500b3020500"
      "a00403020073",
      BM_MALFORMED },
    { "17 pieces of generalInfo",
      "3081b53081a8020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a412041074"
      "747474747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea8573055300306012a300306012a30"
      "0306012a300306012a300306012a300306012a300306012a300306012a300306012a300306012a300306012a300306012a30"
      "0306012a300306012a300306012a300306012a300306012ab3020500a00403020073",
      BM_MALFORMED },
    { "left over in the header",
      "305d3051020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e0500b3020500a00403020073",
      BM_MALFORMED },
    { "protection with odd bits",
      "305b304f020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a00403020102",
      BM_MALFORMED },
    { "empty extraCerts",
      "305f304f020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a00403020073a1023000",
      BM_MALFORMED },
    { "nine extraCerts",
      "3071304f020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a00403020073a1143012300030"
      "003000300030003000300030003000",
      BM_MALFORMED },
    { "extraCerts of something else",
      "3061304f020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a00403020073a10430020500",
      BM_MALFORMED },
    { "left over",
      "305d304f020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a004030200730500",
      BM_MALFORMED },
    { "behind it",
      "305b304f020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a0040302007300",
      BM_MALFORMED },
    { "indefinite length",
      "3080304f020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
      "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6eb3020500a004030200730000",
      BM_MALFORMED },
};

static const struct row requests[] = {
    { "a request", "302230203011020100300ca5023000a60630000302006ba10b300506032b657003020073", BM_OK },
    { "two",
      "304430203011020100300ca5023000a60630000302006ba10b300506032b65700302007330203011020101300ca5023000a6"
      "0630000302006ba10b300506032b657003020073",
      BM_OK },
    { "certReqId -1", "3022302030110201ff300ca5023000a60630000302006ba10b300506032b657003020073", BM_OK },
    { "raVerified", "301730153011020100300ca5023000a60630000302006b8000", BM_OK },
    { "no proof", "301530133011020100300ca5023000a60630000302006b", BM_OK },
    { "with regInfo", "302430223011020100300ca5023000a60630000302006ba10b300506032b6570030200733000", BM_OK },
    { "with old certificate",
      "303a30383029020100300ca5023000a60630000302006b3016301406092b06010505070501053007a4023000020105a10b30"
      "0506032b657003020073",
      BM_OK },
    { "another control", "302c302a301b020100300ca5023000a60630000302006b3008300606022a030500a10b300506032b657003020073", BM_OK },
    { "every field",
      "304230403031020100302c800102810105a20306012aa3023000a400a5023000a60630000302006b870100880100a9073005"
      "06012a0400a10b300506032b657003020073",
      BM_OK },
    { "empty", "", BM_MALFORMED },
    { "none", "3000", BM_MALFORMED },
    { "not a request", "30020500", BM_MALFORMED },
    { "no template", "300730053003020100", BM_MALFORMED },
    { "certReqId too long", "3027302530160206010000000000300ca5023000a60630000302006ba10b300506032b657003020073", BM_MALFORMED },
    { "fields out of order", "301c301a300b0201003006a600a5023000a10b300506032b657003020073", BM_MALFORMED },
    { "subject twice", "301e301c300d0201003008a5023000a5023000a10b300506032b657003020073", BM_MALFORMED },
    { "subject not a name", "301a301830090201003004a5020500a10b300506032b657003020073", BM_MALFORMED },
    { "version of two bytes", "301a30183009020100300480020100a10b300506032b657003020073", BM_MALFORMED },
    { "serial not minimal", "301a30183009020100300481020001a10b300506032b657003020073", BM_MALFORMED },
    { "no extensions in the list", "3018301630070201003002a900a10b300506032b657003020073", BM_MALFORMED },
    { "old certificate twice",
      "3050304e303f020100300ca5023000a60630000302006b302c301406092b06010505070501053007a4023000020105301406"
      "092b06010505070501053007a4023000020105a10b300506032b657003020073",
      BM_MALFORMED },
    { "old certificate without name",
      "303930373028020100300ca5023000a60630000302006b3015301306092b06010505070501053006820178020105a10b3005"
      "06032b657003020073",
      BM_MALFORMED },
    { "control without value", "302930273018020100300ca5023000a60630000302006b3005300306012aa10b300506032b657003020073",
      BM_MALFORMED },
    { "proof without signature", "301930173011020100300ca5023000a60630000302006ba1023000", BM_MALFORMED },
    { "left over", "302630243011020100300ca5023000a60630000302006ba10b300506032b65700302007330000500", BM_MALFORMED },
    { "the second is broken", "302430203011020100300ca5023000a60630000302006ba10b300506032b6570030200733000", BM_MALFORMED },
};

static const struct row confirmations[] = {
    { "one", "3027302504206868686868686868686868686868686868686868686868686868686868686868020100", BM_OK },
    { "none", "3000", BM_OK },
    { "rejected", "30173015040168020100300d02010230040c026e6f03020520", BM_OK },
    { "with hashAlg", "300f300d040168020100a005300306012a", BM_OK },
    { "two", "301030060401680201003006040168020101", BM_OK },
    { "empty", "", BM_MALFORMED },
    { "not a list", "0500", BM_MALFORMED },
    { "no hash", "30053003020100", BM_MALFORMED },
    { "no certReqId", "30053003040168", BM_MALFORMED },
    { "status without number", "300a30080401680201003000", BM_MALFORMED },
    { "hashAlg bare", "300d300b040168020100300306012a", BM_MALFORMED },
    { "left over", "300a30080401680201000500", BM_MALFORMED },
    { "behind the list", "300000", BM_MALFORMED },
};

static const struct row macs[] = {
    { "PBM",
      "303606092a864886f67d07420d3029040873616c7473616c74300b0609608648016503040201020201f4300c06082a864886"
      "f70d02090500",
      BM_OK },
    { "PBM with HMAC-SHA-1",
      "303606092a864886f67d07420d3029040873616c7473616c74300b0609608648016503040201020201f4300c06082a864886"
      "f70d02070500",
      BM_OK },
    { "PBMAC1",
      "304606092a864886f70d01050e3039302906092a864886f70d01050c301c040873616c7473616c74020201f4300c06082a86"
      "4886f70d02090500300c06082a864886f70d02090500",
      BM_OK },
    { "PBMAC1 with a length",
      "304906092a864886f70d01050e303c302c06092a864886f70d01050c301f040873616c7473616c74020201f4020120300c06"
      "082a864886f70d02090500300c06082a864886f70d02090500",
      BM_OK },
    { "PBMAC1 with default prf",
      "303806092a864886f70d01050e302b301b06092a864886f70d01050c300e040873616c7473616c74020201f4300c06082a86"
      "4886f70d02090500",
      BM_OK },
    { "empty", "", BM_DENIED },
    { "a signature", "300506032b6570", BM_DENIED },
    { "PBM without parameters", "300b06092a864886f67d07420d", BM_DENIED },
    { "PBM with SHA-1",
      "303206092a864886f67d07420d3025040873616c7473616c74300706052b0e03021a020201f4300c06082a864886f70d0209"
      "0500",
      BM_DENIED },
    { "no iteration",
      "303506092a864886f67d07420d3028040873616c7473616c74300b0609608648016503040201020100300c06082a864886f7"
      "0d02090500",
      BM_DENIED },
    { "too many",
      "303606092a864886f67d07420d3029040873616c7473616c74300b060960864801650304020102022711300c06082a864886"
      "f70d02090500",
      BM_DENIED },
    { "negative",
      "304506092a864886f70d01050e3038302806092a864886f70d01050c301b040873616c7473616c740201ff300c06082a8648"
      "86f70d02090500300c06082a864886f70d02090500",
      BM_DENIED },
    { "salt too short",
      "303506092a864886f67d07420d3028040700000000000000300b0609608648016503040201020201f4300c06082a864886f7"
      "0d02090500",
      BM_DENIED },
    { "salt too long",
      "306f06092a864886f67d07420d30620441000000000000000000000000000000000000000000000000000000000000000000"
      "0000000000000000000000000000000000000000000000000000000000000000300b0609608648016503040201020201f430"
      "0c06082a864886f70d02090500",
      BM_DENIED },
    { "key too long",
      "304906092a864886f70d01050e303c302c06092a864886f70d01050c301f040873616c7473616c74020201f4020141300c06"
      "082a864886f70d02090500300c06082a864886f70d02090500",
      BM_DENIED },
    { "unknown MAC", "303006092a864886f67d07420d3023040873616c7473616c74300b0609608648016503040201020201f4300606022a030500",
      BM_DENIED },
    { "PBMAC1 with another KDF", "302106092a864886f70d01050e3014300606022a030500300a06082a864886f70d0209", BM_DENIED },
    { "left over",
      "303606092a864886f67d07420d3029040873616c7473616c74300b0609608648016503040201020201f4300c06082a864886"
      "f70d020905000500",
      BM_DENIED },
};

static const struct row revocations[] = {
    { "a revocation", "300b30093007810105a3023000", BM_OK },
    { "with a reason", "301930173007810105a3023000300c300a0603551d1504030a0104", BM_OK },
    { "with another extension", "301430123007810105a30230003007300506012a0400", BM_OK },
    { "two", "301630093007810105a302300030093007810105a3023000", BM_OK },
    { "empty", "", BM_MALFORMED },
    { "none", "3000", BM_MALFORMED },
    { "no template", "30023000", BM_MALFORMED },
    { "reason 7", "301930173007810105a3023000300c300a0603551d1504030a0107", BM_MALFORMED },
    { "reason 11", "301930173007810105a3023000300c300a0603551d1504030a010b", BM_MALFORMED },
    { "two reasons", "302530233007810105a30230003018300a0603551d1504030a0101300a0603551d1504030a0101", BM_MALFORMED },
    { "reason of two bytes", "301a30183007810105a3023000300d300b0603551d1504040a020001", BM_MALFORMED },
    { "reason is a number", "301930173007810105a3023000300c300a0603551d150403020101", BM_MALFORMED },
    { "left over", "300d30093007810105a30230000500", BM_MALFORMED },
};

static const struct row questions[] = {
    { "a question", "300c300a06082b06010505070411", BM_OK },
    { "with a value", "3008300606022a030500", BM_OK },
    { "none", "3000", BM_OK },
    { "empty", "", BM_MALFORMED },
    { "no OID", "300430020500", BM_MALFORMED },
    { "two values", "3009300706012a05000500", BM_MALFORMED },
    { "behind the list", "30000500", BM_MALFORMED },
};

static const struct row polls[] = {
    { "one", "3005 3003 020100", BM_OK },
    { "of a p10cr", "3005 3003 0201ff", BM_OK },
    { "two", "300a 3003 020100 3003 020101", BM_OK },
    { "none", "3000", BM_MALFORMED },
    { "not a list", "3103 020100", BM_MALFORMED },
    { "no number", "3002 3000", BM_MALFORMED },
    { "something after the number", "3007 3005 020100 0500", BM_MALFORMED },
    { "a number in more bytes than it needs", "3006 3004 02020000", BM_MALFORMED },
    { "something after the list", "3005 3003 020100 00", BM_MALFORMED },
};

static const struct row nests[] = {
    { "one", "3002 3000", BM_OK },
    { "as many as there is room for", "3004 3000 3000", BM_OK },
    { "one more", "3006 3000 3000 3000", BM_DENIED },
    { "none", "3000", BM_MALFORMED },
    { "no message", "3002 0500", BM_MALFORMED },
    { "a message, and something else", "3004 3000 0500", BM_MALFORMED },
    { "not a list", "3102 3000", BM_MALFORMED },
    { "something after the list", "3002 3000 00", BM_MALFORMED },
};

/* CertTemplates, [6] or nothing: does it want a key? BM_OK: it does. */
static const struct row wanted_keys[] = {
    { "none", "", BM_OK },
    { "P-256", "a618 3013 06072a8648ce3d0201 06082a8648ce3d030107 030100", BM_OK },
    { "Ed25519", "a60a 3005 06032b6570 030100", BM_OK },
    { "unknown kind", "a609 3004 06022a03 030100", BM_OK },
    { "a key", "a60b 3005 06032b6570 03020001", BM_DENIED },
    { "an unused bit", "a60a 3005 06032b6570 030101", BM_DENIED },
    { "no kind", "a605 3000 030100", BM_DENIED },
    { "no bits", "a607 3005 06032b6570", BM_DENIED },
    { "something after the bits", "a60c 3005 06032b6570 030100 0500", BM_DENIED },
};

static const struct row crl_statuses[] = {
    { "by issuer", "300a3008a1063004a4023000", BM_OK },
    { "with a time", "301b3019a1063004a4023000180f32303236303932313134313332305a", BM_OK },
    { "by place", "30063004a002a000", BM_OK },
    { "empty", "", BM_MALFORMED },
    { "none", "3000", BM_MALFORMED },
    { "two", "30143008a1063004a40230003008a1063004a4023000", BM_MALFORMED },
    { "two names", "300e300ca10a3008a4023000a4023000", BM_MALFORMED },
    { "no name", "30063004a1023000", BM_MALFORMED },
    { "a name by mail", "300b3009a10730058103614062", BM_MALFORMED },
    { "a time that is none", "300c300aa1063004a40230000500", BM_MALFORMED },
};

typedef enum bm_rc parse_fn(struct bm_rd in);

static enum bm_rc parse_message(struct bm_rd in)
{
    struct bm_cmp m;

    return bm_cmp_parse(in, &m, &err);
}

static enum bm_rc parse_request(struct bm_rd in)
{
    struct bm_crmf c;

    return bm_crmf_parse(in, &c, &err);
}

static enum bm_rc parse_confirmation(struct bm_rd in)
{
    struct bm_cmp_confirm c;

    return bm_cmp_confirm_parse(in, &c, &err);
}

static enum bm_rc parse_mac(struct bm_rd in)
{
    struct bm_cmp_mac m;

    return bm_cmp_mac_parse(in, &m, &err);
}

static enum bm_rc parse_revocation(struct bm_rd in)
{
    struct bm_cmp_revocation r;

    return bm_cmp_revocation_parse(in, &r, &err);
}

static enum bm_rc parse_question(struct bm_rd in)
{
    struct bm_cmp_question q;

    return bm_cmp_question_parse(in, &q, &err);
}

static enum bm_rc parse_poll(struct bm_rd in)
{
    struct bm_cmp_poll p;

    return bm_cmp_poll_parse(in, &p, &err);
}

static enum bm_rc parse_crl_status(struct bm_rd in)
{
    struct bm_cmp_crl_status s;

    return bm_cmp_crl_status_parse(in, &s, &err);
}

static void run(const struct row *rows, size_t n, parse_fn *parse, enum bm_rc cut)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t room[1024];
        struct bm_rd in = hex(rows[i].hex, room, sizeof room);

        for (size_t len = rows[i].want == BM_OK ? 0 : in.n; len <= in.n; len++) { /* of a good one every proper prefix too */
            uint8_t *copy = exact(bm_rd_of(in.p, len));
            enum bm_rc rc = parse(bm_rd_of(copy, len)), want = len < in.n ? cut : rows[i].want;

            if (rc != want)
                fail_msg("%s, %zu of %zu bytes: %s (%s)", rows[i].name, len, in.n, bm_rc_name(rc), err.what);
            free(copy);
        }
    }
}

static void message_rows(void **state)
{
    (void)state;
    run(messages, BM_COUNT(messages), parse_message, BM_MALFORMED);
}

static void request_rows(void **state)
{
    (void)state;
    run(requests, BM_COUNT(requests), parse_request, BM_MALFORMED);
}

static void confirmation_rows(void **state)
{
    (void)state;
    run(confirmations, BM_COUNT(confirmations), parse_confirmation, BM_MALFORMED);
}

static void support_rows(void **state)
{
    (void)state;
    run(revocations, BM_COUNT(revocations), parse_revocation, BM_MALFORMED);
    run(questions, BM_COUNT(questions), parse_question, BM_MALFORMED);
    run(crl_statuses, BM_COUNT(crl_statuses), parse_crl_status, BM_MALFORMED);
}

static enum bm_rc parse_nested(struct bm_rd in)
{
    struct bm_rd got[2];
    size_t n;

    return bm_cmp_nested_parse(in, got, BM_COUNT(got), &n, &err);
}

static void nested_rows(void **state)
{
    (void)state;
    run(nests, BM_COUNT(nests), parse_nested, BM_MALFORMED);
}

static void poll_rows(void **state)
{
    uint8_t room[64];
    struct bm_cmp_poll p;

    (void)state;
    run(polls, BM_COUNT(polls), parse_poll, BM_MALFORMED);
    assert_ok(bm_cmp_poll_parse(hex(polls[1].hex, room, sizeof room), &p, &err));
    assert_true(p.n == 1 && p.req_id == -1);
    assert_ok(bm_cmp_poll_parse(hex(polls[2].hex, room, sizeof room), &p, &err));
    assert_true(p.n == 2 && p.req_id == 0);
}

/* A key with bits is a key, whatever it is worth: it is not taken for the wish to have one made. */
static void wanted_key_rows(void **state)
{
    static const char *const want[] = { NULL, "P-256", "Ed25519", "this kind" };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(wanted_keys); i++) {
        uint8_t room[64];
        struct bm_rd in = hex(wanted_keys[i].hex, room, sizeof room);
        uint8_t *copy = exact(in);
        struct bm_crmf_template t = { .public_key = bm_rd_of(copy, in.n) };
        const char *alg = "?";

        if (bm_crmf_wants_key(&t, &alg) != (wanted_keys[i].want == BM_OK))
            fail_msg("%s", wanted_keys[i].name);
        if (i < BM_COUNT(want) && (want[i] == NULL ? alg != NULL : alg == NULL || strcmp(alg, want[i]) != 0))
            fail_msg("%s: %s", wanted_keys[i].name, alg);
        free(copy);
        for (size_t len = 1; len < in.n; len++) {
            copy = exact(bm_rd_of(in.p, len));
            t.public_key = bm_rd_of(copy, len);
            assert_false(bm_crmf_wants_key(&t, &alg));
            free(copy);
        }
    }
}

/* Bodies byte for byte, as the RFC's ASN.1 has them. */
static void bodies_about_waiting(void **state)
{
    uint8_t room[128], want[128];
    struct bm_derw w = bm_derw_of(room, sizeof room);

    (void)state;
    bm_cmp_put_waiting(&w, BM_CMP_CP, -1, "no");
    assert_true(bm_rd_eq(bm_derw_rd(&w), hex("a314 3012 3010 300e 0201ff 3009 020103 3004 0c026e6f", want, sizeof want)));
    w = bm_derw_of(room, sizeof room);
    bm_cmp_put_poll(&w, 0, 60, "no");
    assert_true(bm_rd_eq(bm_derw_rd(&w), hex("ba10 300e 300c 020100 02013c 3004 0c026e6f", want, sizeof want)));
    w = bm_derw_of(room, sizeof room);
    bm_cmp_put_info_root(&w, bm_rd_str("N"), bm_rd_of(NULL, 0), bm_rd_str("o"));
    assert_true(bm_rd_eq(bm_derw_rd(&w), hex("b614 3012 3010 06082b06010505070412 3004 4e a1016f", want, sizeof want)));
    w = bm_derw_of(room, sizeof room);
    bm_cmp_put_info_root(&w, bm_rd_of(NULL, 0), bm_rd_of(NULL, 0), bm_rd_of(NULL, 0));
    assert_true(bm_rd_eq(bm_derw_rd(&w), hex("b60e 300c 300a 06082b06010505070412", want, sizeof want)));
}

static void mac_rows(void **state)
{
    (void)state;
    run(macs, BM_COUNT(macs), parse_mac, BM_DENIED);
}

/* What is borrowed is what stands there. */
static void fields_of_a_request(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf spki = { .max = 64 };
    uint8_t room[1024], want[64];
    struct bm_crmf c;

    (void)state;
    assert_ok(bm_crmf_parse(hex(requests[0].hex, room, sizeof room), &c, &err));
    assert_true(c.n == 1 && c.req_id == 0 && c.pop == BM_CRMF_POP_SIGNATURE && !c.pop_input && c.old_serial.n == 0);
    assert_true(bm_rd_eq(c.t.subject, bm_rd_of("\x30\x00", 2)) && bm_rd_eq(c.pop_sig, bm_rd_str("s")));
    assert_ok(bm_crmf_spki(&c.t, &spki, &err)); /* its implicit tag gone */
    assert_true(bm_rd_eq(bm_buf_rd(&spki), hex("3006 3000 0302 006b", want, sizeof want)));
    assert_ok(bm_crmf_parse(hex(requests[2].hex, room, sizeof room), &c, &err));
    assert_int_equal(c.req_id, -1);
    assert_ok(bm_crmf_parse(hex(requests[6].hex, room, sizeof room), &c, &err));
    assert_true(bm_rd_eq(c.old_serial, bm_rd_of("\x05", 1)) && bm_rd_eq(c.old_issuer, bm_rd_of("\x30\x00", 2)));
}

/* What we write, OpenSSL reads, and finds signed over what it says (RFC 9810 section 5.1.3: header and body in a SEQUENCE of their own). */
static void the_library_reads_what_we_write(void **state)
{
    BM_CLEANUP(bm_buf_done) struct bm_buf out = { .max = BM_CMP_ANSWER_MAX }, part = { .max = BM_CMP_ANSWER_MAX };
    BM_CLEANUP(bm_key_freep) struct bm_key *key = key_new("EC", "P-256");
    BM_EVP_FREE EVP_PKEY *evp = NULL;
    uint8_t room[1024];
    struct bm_derw body = bm_derw_of(room, sizeof room);
    struct bm_cmp_answer a = { .pvno = 2,
                               .sender = bm_rd_of("\x30\x00", 2),
                               .time = NOW,
                               .tid = bm_rd_str("transaction"),
                               .sender_nonce = bm_rd_str("0123456789abcdef"),
                               .recip_nonce = bm_rd_str("fedcba9876543210"),
                               .implicit_confirm = true,
                               .key = key };
    struct bm_spki spki;
    struct bm_cmp m;
    const uint8_t *p;
    OSSL_CMP_MSG *theirs;

    (void)state;
    bm_cmp_put_error(&body, BM_CMP_SIGNER_NOT_TRUSTED, "no");
    a.body = bm_derw_rd(&body);
    assert_ok(bm_cmp_write(&a, &out, &err));
    assert_ok(bm_cmp_parse(bm_buf_rd(&out), &m, &err));
    assert_true(m.type == BM_CMP_ERROR && m.h.pvno == 2 && m.h.implicit_confirm && !m.h.implicit_confirm_odd && m.h.time == NOW);
    assert_ok(bm_spki_parse(bm_key_spki(key), &spki, &err));
    assert_ok(bm_spki_open(&spki, &evp, &err));
    assert_ok(bm_cmp_protected(m.part, &part, &err));
    assert_ok(bm_verify_x509(evp, m.h.protection_alg, bm_buf_rd(&part), m.protection, &err));
    p = out.p;
    theirs = d2i_OSSL_CMP_MSG(NULL, &p, (long)out.n);
    assert_true(theirs != NULL && p == out.p + out.n);
    assert_int_equal(OSSL_CMP_MSG_get_bodytype(theirs), BM_CMP_ERROR);
    OSSL_CMP_MSG_free(theirs);
}

/* certProfile: one name of a length that a service's can have, once. */
static void profile_names(void **state)
{
    static const struct {
        const char *what, *hex, *name;
        bool odd;
    } rows[] = {
        { "one",
          "3076306a020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
          "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea8193017301506082b0601050507041530"
          "090c0775706461746573b3020500a00403020073",
          "updates", false },
        { "none",
          "30653059020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
          "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea8083006300406022a03b3020500a00403"
          "020073",
          "", false },
        { "two names",
          "30733067020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
          "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea8163014301206082b0601050507041530"
          "060c01610c0162b3020500a00403020073",
          "a", true },
        { "twice",
          "3081813075020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a41204107474"
          "7474747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea8243022300f06082b06010505070415"
          "30030c0161300f06082b0601050507041530030c0161b3020500a00403020073",
          "a", true },
        { "empty",
          "306f3063020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a4120410747474"
          "74747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea8123010300e06082b0601050507041530"
          "020c00b3020500a00403020073",
          "", true },
        { "empty, and then one",
          "3081803074020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a41204107474"
          "7474747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea8233021300e06082b06010505070415"
          "30020c00300f06082b0601050507041530030c0161b3020500a00403020073",
          "a", true },
        { "64 bytes",
          "3081b03081a3020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a412041074"
          "747474747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea8523050304e06082b060105050704"
          "1530420c40787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878"
          "78787878787878787878787878787878787878b3020500a00403020073",
          "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", false },
        { "65 bytes",
          "3081b13081a4020102a4023000a4023000a011180f32303236303932313134313332305aa107300506032b6570a412041074"
          "747474747474747474747474747474a51204106e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6ea8533051304f06082b060105050704"
          "1530430c41787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878"
          "7878787878787878787878787878787878787878b3020500a00403020073",
          "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", true },
    };

    (void)state;
    for (size_t i = 0; i < BM_COUNT(rows); i++) {
        uint8_t room[512];
        struct bm_cmp m;

        assert_ok(bm_cmp_parse(hex(rows[i].hex, room, sizeof room), &m, &err));
        if (!bm_rd_eq(m.h.cert_profile, bm_rd_str(rows[i].name)) || m.h.cert_profile_odd != rows[i].odd)
            fail_msg("%s", rows[i].what);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_rows),
        cmocka_unit_test(profile_names),
        cmocka_unit_test(request_rows),
        cmocka_unit_test(confirmation_rows),
        cmocka_unit_test(mac_rows),
        cmocka_unit_test(support_rows),
        cmocka_unit_test(poll_rows),
        cmocka_unit_test(nested_rows),
        cmocka_unit_test(wanted_key_rows),
        cmocka_unit_test(bodies_about_waiting),
        cmocka_unit_test(fields_of_a_request),
        cmocka_unit_test(the_library_reads_what_we_write),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
