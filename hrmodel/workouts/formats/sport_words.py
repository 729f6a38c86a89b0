"""What apps, watches and people call a sport, in some fifty languages, and how a text is searched for it.

An entry is a word or phrase; `*` stands for the rest of a word (`*lauf` finds Waldlauf), `=` before it means that it
must be the whole text. In scripts that put no blanks between words an entry is found anywhere. Case, accents,
punctuation and camel case make no difference.
"""

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from functools import cache

MAX_TEXT = 200  # characters of a word or name that are looked at

RUNNING = """
run, runs, running, runner, trailrun*, runwalk, walkrun, *running, jog, jogs, jogging, jogger, parkrun, fun run
funrun, marathon, halfmarathon, half marathon, ultramarathon, fartlek, fell race, canicross, footing
couch to 5k, lauf*, *lauf, *laufen, *läufe, dauerlauf*, joggen, traben, course a pied, =course, course urbaine
course sur piste, course athletique, courses a pied, courir, =trail, trail blanc, running sur route
semi marathon, sortie longue a pied, correr, corriendo, carrera, carreras, carrera a pie, corro, trote, trotar
trail corto, media maraton, maraton, corrida, corridas, correndo, corrida de rua, corrida em trilha
meia maratona, maratona, atletismo, atletisme, leichtathletik, pista de atletismo, corsa, corse, correre
corsetta, podismo, di corsa, mezza maratona, corsa nant a pista, hardlopen, hardloop*, *hardloop, rennen
trailrunnen, halve marathon, *loopje, ochtendloop, avondloop, middagloop, löpning, *löpning, löpa, löptur*
löppass*, *löptur, löprunda, jogg, joggning, *joggning, joggingtur, løb, løbe, løbet, løbetur, *løbetur, *løb
løping, *løping, løpe, løpetur, *løpetur, *løp, løp, joggetur, jogge, juoksu, *juoksu, juoksut, juokseminen
juoksulenkki, hölkkä, lenkki, aamulenkki, iltalenkki, hlaup, *hlaup, hlaupa, skokk, bieg, biegi, biegu, bieganie
biegania, biegac, przebiezka, trucht, beh, behy, behani, behanie, behat, beh na draze, vybeh, klus, poklus
drahovy beh, tek, teki, tekanje, trcanje, trcati, trcim, tek po progi, utrka, alergare, alergari, alergat, alerg
jogging usor, futas, *futas, futni, futok, kocogas, *kocogas, bėgimas, begimo, begioti, begiojimas, begiojimo
bėgti, ristele, vykdoma, skriesana, skrejiens, skriet, skrien, jooks*, *jooks, jooksmine, sörk, sörkimine
correguda, cursa, correr a peu, corrent, corredora, korrika, lasterketa, *lasterketa, korri egin, carreira
carreiras, ag rith, rith, rith sraide, rhedeg, vrapim, vrapimi, vrap, kosu, kosmak, kosuyorum, *kosu, *kosusu
qacis, yuguris, жугуру, τρεξιμο, τρεχω, τροχαδην, τζοκινγκ, τζογκινγκ, μαραθωνιος, δρομικη, бег, бега, бегаю
беговая, беговая тренировка, забег, пробежка, джоггинг, марафон, полумарафон, трейлраннинг, кросс, біг, бігу
пробіжка, забіг, біговий, бягане, бягам, тичане, джогинг, кросово бягане, трчање, трчати, трчам, трка
бег на патеки, жүгіру, югуру, чүгүрүү, гүйлт, гүйх, вазелка, бяганне, جري, الجري, ركض, الركض, هروله, هرولة
جري بالممرات, عدو, الجري في الهواء الطلق, ماراثون, دویدن, دوڑنا, دوڑ, ڕاکردن, آهسته دویدن, جاگینگ, ריצה, ריצת
לרוץ, ריצות, ג'וגינג, दौड़, दौड़ना, दौड, दौड़ने, रनिंग, जॉगिंग, धावणे, दौड़ते, दगुर्ने, দৌড়, দৌড়ানো, রানিং, ఓట
పరుగు, ఓటం, ಓಟ, ಓಡುವುದು, ఓడు, ഓട്ടം, ഓടുക, દોડ, દોડવું, ਦੌੜ, ਦੌੜਨਾ, ஓட்டம், ஓடுதல், இயங்கும், பாதை இயங்கும்
දිවීම, දුවනවා, วิ่ง, จ็อกกิ้ง, ແລ່ນ, ပြေး, រត់, chạy, chạy bộ, đi chạy, lari, berlari, larian, lari pagi
lari santai, lari lintas, pagtakbo, tumatakbo, takbo, tumakbo, mbio, kukimbia, hardloop, 跑步, 跑, 慢跑, 越野跑
晨跑, 夜跑, 路跑, 馬拉松, 马拉松, 跑者, ランニング, ジョギング, ジョグ, =ラン, トレイルラン, トレラン, 朝ラン
昼ラン, 夜ラン, マラソン, 駆け足, 走り込み, 달리기, 러닝, 런닝, 조깅, 마라톤, 트레일런, სირბილი, վազք, ሩጫ
"""
MACHINE = """
treadmill, *treadmill, laufband, tapis de course, tapis roulant, loopband, cinta de correr, cinta, caminadora
esteira, passadeira, tredemølle, mølle, løbebånd, löpband, juoksumatto, bieznia, biezni, bezecky pas, futopad
kosu bandi, διαδρομος, беговая дорожка, бігова доріжка, банда за бягане, traka za trcanje, tekalna steza
traka de alergare, jooksulint, skrejcelins, begimo takelis, jalaka, הליכון, جهاز الجري, جهاز المشي, تردمیل
ट्रेडमिल, ลู่วิ่ง, may chay, トレッドミル, ルームランナー, 트레드밀, 러닝머신, 跑步机, 跑步機
"""
CYCLING = """
ride, rides, cycling, cycle, biking, bike, bikes, bicycle, bicycling, ebike*, e bike*, ebiking, mtb, bmx
*biking, *cycling, mountainbike*, handcycle*, *ride, spinning, spin, velomobile, velodrome, gravel, cyclocross
*bike, cyclist, peloton, rad, radfahren, radfahrt, *radfahren, fahrrad*, *radfahrt, radtour*, radeln, rennrad*
*rennrad, radsport, *radtour, velo, veloausfahrt, velotour, velofahren, velofahrt, velo electrique, vtt, vae
cyclisme, cycliste, sortie a velo, bicyclette, ciclismo, bici, bicicleta, ciclista, anar en bicicleta, ciclisme
ciclism, ciclismu, bicicletta, pedalada, pedalata, pedal, passeio de bicicleta, vuelta en bici, salida en bici
btt, giro in bici, uscita in bici, fiets*, *fietsen, wielren*, *wielrennen, toerfiets*, racefiets*, motorfietsen
*fietstocht, *fietsrit, cykl*, *cykling, cykel*, *cykeltur, sykkel*, sykling, *sykling, sykle, *sykkeltur
landevejscykling, pyöräily, *pyöräily, pyörälenkki, *pyörälenkki, hjola*, hjolreid*, jalgratta*, *rattasõit
trekisoit, rower, rowerem, rowerze, jazda na rowerze, kolarstwo, kolo, na kole, na horskem kole, jizda na kole
cyklistika, cyklo*, bicykl*, kolesarjenje, kolesarstvo, bicikl*, biciklizam, vožnja biciklom, bicikliranje
voznja biciklom, kerekpar*, *kerekparozas, bringa*, bringazas, biciklizes, dviraci*, vazinejimas
vaziavimas dviraciais, ritenbrauksana, velobrauksana, bizikleta, ziklismo*, rothaiocht, seiclo, ciclabil
bicicleta de montana, çiklizem, biçiklete, bisiklet*, ποδηλασια, ποδηλατο, ποδηλασ*, велосипед*, велопрогулка
велоспорт, вело*, езда на велосипеде, байк, велотрек, велотренировка, заезд, колоездене, колоездач*, бициклизам
бицикл, возење велосипед, велотренування, їзда на велосипеді, ركوب الدراجات, دراجة, دراجه, الدراجه, الدراجات
دوچرخه*, סייקלינג, רכיבה על אופניים, אופניים, רכיבת אופניים, רכיבה, साइकिल*, साइकल*, साइक्लिंग, बाइकिंग, बाइक
সাইকেল, ಸೈಕ್ಲಿಂಗ್, ಬೈಕಿಂಗ್, சைக்கிள்*, பைக்கிங், ขี่จักรยาน, ปั่นจักรยาน, จักรยาน, dap xe, di xe dap, xe dap
bersepeda, sepeda, berbasikal, basikal, pagbibisikleta, pagbisikleta, pagbibisikleta sa track, 自行车, 自行車
骑行, 騎行, 騎乘, 單車, 单车, 骑车, 騎車, サイクリング, 自転車, ロードバイク, マウンテンバイク, バイク, ライド, 자전거
사이클, 라이딩, 바이킹
"""
HIKING = """
hike, hikes, hiking, hiker, trek, treks, trekking, backpacking, rucking, tramping, bushwalk*, mountaineering
fastpacking, wandern, wander*, *wanderung, bergwander*, *wandern, bergtour, *bergtour, bergsteigen, randonnee*
rando, randonnee pedestre, senderismo, excursionismo, caminata de montaña, montañismo, escursion*, trilha
caminhada em trilha, sendeirismo, senderisme, excursio, montanhismo, trekking em trilha, girandulata, trektocht
bergwandelen, hiken, vandring, *vandring, fottur*, *fottur, tur til fots, fjelltur, fjälltur, retkeily, retki
vaellus, *vaellus, gongufer*, turystyka piesza, wedrowka, wycieczka piesza, turistika, pesi turistika, tura
vysokohorska turistika, pohod*, pohodnistvo, pjesacenje, planinarenje, drumetie, drumetii, tura montana, turaz*
*turazas, kirandulas, zygis, zygiai, kelione pesciomis, pargajiens, pargajieni, matkamine, matk, *matkamine
mendi txangoa, mendi*, fanaiocht, cerdded mynydd, doga yuruyusu, πεζοπορια, ορειβασια, поход, поход пеший
хайкинг, треккинг, пішохідний туризм, похід, туристически поход, пешеходни походи, преход, планинарење, пешачење
тур*, تنزه, تسلق الجبال, کوهپیمایی, طبیعت گردی, هايكنج, צעידה, טיול רגלי, טיול, हाइकिंग, पैदल यात्रा, ഹൈക്കിംഗ്
ಹೈಕಿಂಗ್, ஐக்கிங், เดินป่า, di bo duong dai, leo doi, mendaki, pendakian, kembara*, trail hiking, 徒步, 远足
遠足, 登山, 健行, ハイキング, トレッキング, 하이킹, 등산, 트레킹, 트레일 하이킹
"""
WALKING = """
walk, walks, walking, walker, *walk, *walking, stroll, strolling, dog walk, ruckwalk, racewalk*, pram walk
gehen, spazier*, *spaziergang, gassi*, walken, nordic walken, marche, marche a pied, marche nordique, marcher
promenade, balade, caminata, caminar, caminando, andar, andando, paseo, paseo a pie, senderuela, caminhada
caminhando, caminho, correcaminata, marcha, marcha nordica, camminata, camminare, passeggiata, marcia, caminada
passejada, passeig, camiñar, camiñada, marchja, wandelen, wandeling, wandel*, *wandeling, snelwandelen, gang
gange, gaa, gåtur, *gåtur, gatur*, kapgang, kiirkond, kavelynopeus, promenad, promenera, raskt gang, kävely
*kävely, käveleminen, kavelylenkki, ganga, spacer, spacerek, spacery, chod, chodzenie, marsz, nordic walk*
chuze, prochazka, chodza, prechadzka, hoja, sprehod, hodanje, setnja, setanje, plimbare, mers pe jos, mers, seta
gyaloglas, *gyaloglas, setalas, ejimas, vaiksciojimas, pasivaiksciojimas, iesana, solosana, pastaiga, jalutamine
kond, kondimine, ibilketa, oinez, paseoa, siul, ag siul, cerdded, ecje, yuruyus, yurumek, yurume, *yuruyusu
gezinti, περπατημα, βαδισμα, βαδην, βολτα, ходьба, прогулка, пешая прогулка, скандинавская ходьба, ходіння, хода
піша прогулянка, прогулянка, ходене, разходка, ходање, шетња, пешком, مشي, المشي, مشى, السير, پیاده روی
پيادهروي, پیادهروی, قدم زدن, راه رفتن, הליכה, טיול קצר, चलना, टहलना, पैदल चलना, वॉकिंग, सैर, হাঁটা, ನಡೆಯುವುದು
ನಡಿಗೆ, நடைபயிற்சி, நடை, నడక, നടത്തം, เดิน, di bo, jalan, jalan kaki, berjalan*, jalan cepat, berjalan kaki
naglalakad, paglalakad, lakad, 步行, 散步, 健走, 走路, 快走, 快步走, 竞走, ウォーキング, 散歩, ウォーク, 徒歩
걷기, 산책, 도보, 워킹, 경보
"""
OTHER = """
wheelchair*, handbike push, swim*, *swim, *swimming, triathlon, duathlon, aquathlon, multisport, multi sport
brick, swimrun, transition, ski, skis, skiing, *skiing, skiin, skier, nordicski, alpineski, backcountryski
rollerski, snowboard*, snowshoe*, snow shoe*, snow shoeing, snow*, nordic ski*, biathlon, langlauf*, skilanglauf
skilauf*, eislauf*, *eislauf, schlittschuh*, inline*, in line, rollschuh*, *skating, skate*, skating, roller*
rollski*, rollerski*, orientierungslauf, orienteering, sled, sledding, sleigh, bobsled, bolidos, mushing
driving, car, motorcycl*, motorbike*, motor bike, motor*, moto, atv, train, bus, flight, flying, airplane, boat
boating, sail*, surf*, *surfing, *surf, kite*, wind*, wing*, paddl*, canoe*, kayak*, row, rowing
rower ergometer, elliptical, crosstrainer, cross trainer, stair*, stepper, floorclimb*, climb*, boulder*, yoga
pilates, strength*, weight*, crossfit, hiit, high intensity*, boxing, tennis, padel, badminton, squash, soccer
football, basketball, volleyball, baseball, cricket, rugby, hockey, golf, dance*, dancing, zumba, aerobic*
horse*, equestrian, riding, hunting, fishing, diving, scuba, snorkel*, meditation, breath*, jumprope, jump rope
skipping, gymnastics, martial*, fencing, parachut*, paraglid*, paragliding, hang gliding, hanggliding, escooter
e scooter, scooter, kickscooter, inlineskat*, archery, tactical, jumpmaster, rafting, wake*, water tubing
lacrosse, racket, *football, sky diving, handball, fitness class, core, frisbee, disc golf, crunches, schwimmen
*schwimmen, rudern, klettern, reiten, skifahren, skitour*, segeln, autofahren, krafttraining, turnen, tanzen
fussball, paddeln, triathlet, ski de fond, ski a roulettes, natation, aviron, escalade, equitation, patin*
voile, raquette*, musculation, danse, raquettes, course d orientation, natacion, remo, escalada, esqui*
equitacion, natacao, natacio, nuoto, sci, sci di fondo, canottaggio, arrampicata, ciaspol*, pattinaggio
orientamento, zwemmen, roeien, schaatsen, skien, skiën, klimmen, paardrijden, inline skaten, simning, rodd
skid*, *skidor, skridsko*, rullskid*, längdskid*, ridning, svømning, svømming, roning, roing, skiløb, *skiløb
skiløping, langrend, langrenn, skøyte*, *skøyter, skøjte*, *skøjteløb, *skøyteløp, rulleski*, orienteringsløb
orienteringsløp, uinti, uiminen, hiihto, *hiihto, soutu, laskettelu, *luistelu, luistelu, suunnistus, sund
skidaganga, suusatamine, *suusatamine, uisutamine, ujumine, soudmine, plywanie, wioslarstwo, narciarstwo
biegi narciarskie, biegowki, na nartach, lyzwiarstwo, rolki, lyzworolki, plavani, plavanie, veslovani, lyzovani*
na lyzich, na lyziach, bruslen*, korculov*, plavanje, smucanje, tek na smuceh, na tekaskih rolkah, na smuceh
veslanje, skijanje, skijasko trcanje, klizanje, rolanje, plivanje, inot, canotaj, schi, schi fond, patinaj
uszas, evezes, sieles, sifutas, korcsolya*, gorkorcsolya*, plaukimas, slidinejimas, slidinejimo krosas
irklavimas, peldesana, *slepošana, *slidosana, igeriketa, eskia, iraupen eskia, yuzme, kayak, kayagi, kir kayagi
kurek, paten, binicilik, κολυμβηση, κολυμπι, σκι, κωπηλασια, πατιναζ, ιππασια, плавание, гребля, лыжи, лыжах
беговые лыжи, лыжный, на лыжах, коньки, ролики, роликовые лыжи, плавання, лижі, лижах, на лижах, лижний
веслування, ролери, с ролери, плуване, ски, ски бягане, гребане, пливање, скијање, трчање на скијама, веслање
клизање, سباحه, السباحه, تزلج, التزلج, تجديف, شنا, اسکی, اسکیت, شنا کردن, קייאק, שחייה, סקי, חתירה, החלקה
तैराकी, स्कीइंग, ว่ายน้ำ, สกี, พายเรือ, boi, cheo thuyen, truot tuyet, berenang, renang, ski lintas alam
meluncur*, paglangoy, 游泳, 滑雪, 划船, 赛艇, 滑冰, 轮滑, 輪滑, 溜冰, 骑马, 騎馬, 定向, 瑜伽, 力量, 雪地, スキー
水泳, スイミング, ボート, スケート, ヨガ, カヤック, スノーボード, 수영, 스키, 조정, 스케이트, 요가, 승마
"""
# the file says that it is something else than its list of sports has, or nothing more than that it was an exercise
UNNAMED = """
other, others, generic, all, workout, workouts, training, train, exercise, activity, activities, sport, sports
fitness, equipment, fitness equipment, cardio, gym, indoor, outdoor, mixed, mixed type, custom, misc
miscellaneous, sonstige*, sonstiges, andere*, gemischt, aktivitat, autre, autres, activite, entrainement
type mixte, otro, otra, otros, otras, actividad, entrenamiento, mixta, tipo mixto, outro, outra, outros, outras
treino, atividade, altro, altra, altri, attivita, allenamento, tipo misto, overig*, anders, combinatie, annat
annan, ovrigt, traning, andet, anden, annet, andre, trening, treningsøkt, kropstræning, blandet type, muu, muut
muuta, harjoitus, sekalainen, inne, inny, inna, typ mieszany, jine, jiny, dalsi, trenink, smiseny typ, ine, ina
zmiesany typ, drugo, ostalo, vadba, mesana vrsta, altele, antrenament, tip mixt, egyeb, edzes, kevert tipusu
kita, misrus tipas, citi, citas, treening, segatuup, altres, entrenament, tipus mixt, bestelakoa, beste bat
mistoa, diger, antrenman, karma tur, αλλο, αλλη, προπονηση, μικτου τυπου, другое, прочее, тренировка
смешанная деятельность, інше, тренування, друго, смесен тип, остало, اخرى, أخرى, غير ذلك, تمرين, نوع مختلط, ساير
سایر, ورزش, תרגול, אחר, אחרת, अन्य, मिश्रित विध, मिश्रित प्रकार, ಇತರೆ, மற்றொன்று, อื่นๆ, khac, hoat dong khac
ket hop, lainnya, latihan, lain lain, jenis campuran, iba pa, treeni, the duc, adestramento, treniranje
atletska vadba, 其他, 其它, 混合型, 複合タイプ, 訓練, 训练, 健身, 混合, その他, トレーニング, 複合, 기타, 운동
혼합
"""
# the file says that it does not know
UNKNOWN = """
unknown, unspecified, undefined, uncategorized, uncategorised, none, null, nil, na, n a, default, invalid, nan
not set, unbekannt, inconnu, inconnue, desconocido, desconocida, desconhecido, desconhecida, sconosciuto
sconosciuta, onbekend, okand, okänt, ukendt, ukjent, tuntematon, nieznany, nieznane, neznámé, neznamy, neznano
nepoznato, necunoscut, necunoscuta, ismeretlen, nezinoma, nezinams, tundmatu, ezezaguna, desconegut, descoñecida
descoñecido, bilinmeyen, bilinmiyor, αγνωστο, αγνωστη, неизвестно, неизвестный, невідомо, непознато, غير معروف
ناشناخته, נא ידוע, לא ידוע, अज्ञात, ಅಜ್ಞಾತ, தெரியவில்லை, ไม่ทราบ, khong xac dinh, tidak diketahui, hindi kilala
anaithnid, scunnisciuta, 未知, 不明, 알 수 없음
"""
# what people name a workout after though they ran: not taken for its sport when it is only a part of the name
IN_NAMES_NO_SPORT = """
bike, bikes, car, train, bus, trail, track, mountain, ride or die, golf, gravel, spin, brick, cycle, trek, tek
boat, wind*, surf*, tur*, boi, mers, jalan, andar, ina, rad, moto, motor*, riding, all, horse*, pedal, sail*
weight*, strength*, climb*, stair*, stepper, snow*, breath*, hunting, fishing, football, soccer, vela, tura, row
cinta, skis, skipping, rennen
"""

# scripts that put no blanks between words: kana, Chinese, Korean, Thai, Lao, Burmese, Khmer
GLUED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
CAMEL = re.compile("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
LETTERS = str.maketrans(
    {"ø": "o", "æ": "ae", "đ": "d", "ł": "l", "ı": "i", "\u064a": "\u06cc", "\u0649": "\u06cc", "\u0643": "\u06a9"}
    | {"\u0629": "\u0647", "\u200c": None, "\u200d": None}  # spellings of Arabic and Persian
)


def folded(text: str) -> str:
    """Lower case without accents, punctuation and camel case: `TrailRunning`, `trail_running` -> `trail running`."""
    plain = unicodedata.normalize("NFKD", CAMEL.sub(" ", text[:MAX_TEXT])).casefold()
    plain = "".join(c for c in plain if not unicodedata.combining(c)).translate(LETTERS)
    composed = unicodedata.normalize("NFC", plain)
    return " ".join("".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in composed).split())


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Entries by how they are looked for; those of n words under n."""

    whole: frozenset[str]
    anywhere: tuple[str, ...]
    phrases: frozenset[str]
    starts: dict[int, tuple[str, ...]]
    ends: dict[int, tuple[str, ...]]
    longest: int  # words

    def without(self, text: str) -> str:
        """A folded text without the words that are entries: the same when there are none."""
        if text in self.whole:
            return ""
        for entry in self.anywhere:
            if entry in text:
                text = text.replace(entry, " ")
        words, kept, first = text.split(), list[str](), 0
        while first < len(words):
            known = next((n for n in range(self.longest, 0, -1) if self._knows(words[first : first + n], n)), 0)
            if not known:
                kept.append(words[first])
            first += known or 1
        return " ".join(kept)

    def in_text(self, text: str) -> bool:
        """True when a folded text has an entry."""
        return self.without(text) != text

    def _knows(self, words: list[str], n: int) -> bool:
        if len(words) < n:
            return False
        phrase = " ".join(words)
        return (
            phrase in self.phrases or phrase.startswith(self.starts.get(n, ())) or phrase.endswith(self.ends.get(n, ()))
        )


@cache
def vocabulary(words: str) -> Vocabulary:
    """The entries of a list above, which commas or line breaks part."""
    whole, anywhere, phrases = set[str](), set[str](), set[str]()
    starts, ends = defaultdict[int, list[str]](list), defaultdict[int, list[str]](list)
    longest = 1
    for entry in filter(None, re.split(r"\s*[,\n]\s*", words)):
        text = folded(entry)
        count = len(text.split())
        longest = max(longest, count)
        if entry.startswith("="):
            whole.add(text)
        elif GLUED.search(text):
            anywhere.add(text)
        elif entry.endswith("*"):
            starts[count].append(text)
        elif entry.startswith("*"):
            ends[count].append(text)
        else:
            phrases.add(text)
    return Vocabulary(
        whole=frozenset(whole),
        anywhere=tuple(sorted(anywhere, key=len, reverse=True)),
        phrases=frozenset(phrases),
        starts={count: tuple(texts) for count, texts in starts.items()},
        ends={count: tuple(texts) for count, texts in ends.items()},
        longest=longest,
    )
